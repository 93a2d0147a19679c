from __future__ import annotations

import json
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from segadmin.events.merge import UserPair, merge_users, undo_merge
from segadmin.models.registry import make_champion
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct, withdraw
from segadmin.snapshots.diff import diff
from segadmin.snapshots.diff_cell import LEFT, NEW, cell_of
from segadmin.snapshots.read import assignments, list_snapshots
from segadmin.snapshots.user import find_user
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from tests.conftest import Cli
from tests.planted import Run, more_weeks, planted_users


def _pair(settings: Settings, earlier: int, later: int) -> tuple[SegmentSnapshot, SegmentSnapshot]:
    with transaction(settings) as session:
        return session.get_one(SegmentSnapshot, earlier), session.get_one(SegmentSnapshot, later)


@pytest.fixture
def moved(shop: Settings) -> Settings:
    """A shop with four snapshots: active users moved, one left and one is new, the others were read a week later."""
    users = planted_users(shop)
    more_weeks(shop, users.head(60), range(14, 15))
    Run(shop, "refresh", {"time": "on-event"}).published()
    Lake.of(shop).delete("users", f"user_key = {users['user_key'][100]}")
    bucket = users["bucket"][0]
    new = {"bucket": bucket, "user_key": 77 * 4 + bucket, "user": "new"}
    Lake.of(shop).append("users", pl.DataFrame([new], schema=Lake.of(shop).scan("users").collect_schema()))
    Run(shop, "refresh", {"time": "on-event"}).published()
    Run(shop, "refresh", {"time": "exact"}).published()
    return shop


def test_every_movement_has_its_cause_and_the_counts_add_up(moved: Settings) -> None:
    for earlier, later in ((1, 2), (2, 3), (3, 4), (1, 4)):
        compared = diff(moved, *_pair(moved, earlier, later))
        before, after = (assignments(moved, number).collect() for number in (earlier, later))
        movements = compared.movements
        stayed = compared.users["cause"].null_count()
        entered = sum(each.users for each in movements if each.before is None)
        left = sum(each.users for each in movements if each.after is None)
        others = sum(each.users for each in movements) - entered - left
        assert stayed + others + left == before.height == compared.users["before"].count()
        assert stayed + others + entered == after.height == compared.users["after"].count()
        joined = before.join(after, on="user_key", suffix="_after")
        assert others == joined.filter(pl.col("segment") != pl.col("segment_after")).height
    causes = {
        pair: {each.cause for each in diff(moved, *_pair(moved, *pair)).movements} for pair in ((1, 2), (2, 3), (3, 4))
    }
    assert causes == {(1, 2): {"new events"}, (2, 3): {"new user", "left"}, (3, 4): {"time"}}


def test_a_cause_is_found_beyond_a_snapshot_that_was_written_whole(moved: Settings) -> None:
    assert _pair(moved, 1, 4)[1].parts == [4]
    whole = diff(moved, *_pair(moved, 1, 4)).users
    step = {row["user_key"]: row for row in diff(moved, *_pair(moved, 1, 2)).users.iter_rows(named=True)}
    both = [row for row in whole.iter_rows(named=True) if row["cause"] and step.get(row["user_key"], {}).get("cause")]
    assert both
    assert {row["cause"] for row in both if row["after"] is not None} == {"new events"}


def test_users_moved_by_another_model(shop: Settings) -> None:
    with transaction(shop) as session:
        first = session.get_one(ModelVersion, 1)
        facts = first.model_dump(exclude={"id"})
        data = {**facts["manifest"]["data"], "definition": {"weeks": 9}}
        second = ModelVersion(**{**facts, "manifest": {**facts["manifest"], "data": data}})
        session.add(second)
        session.flush()
        make_champion(session, second, expected=1)
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {}).published()
    causes = {each.cause for each in diff(shop, *_pair(shop, 1, 2)).movements}
    assert causes == {"another definition"}


def test_corrections_and_merges_are_causes_beside_another_model(shop: Settings) -> None:
    """A user was corrected, one until the champion changed, one in between only; two were merged, one for good."""
    keys = {name: find_user(shop, name) for name in ("user-1", "user-2", "user-3", "user-4", "user-5")}
    segments = dict(assignments(shop, 1).select("user_key", "segment").collect().iter_rows())
    elsewhere = {name: "low" if segments[key] != "low" else "high" for name, key in keys.items()}
    correct(shop, "user-2", elsewhere["user-2"], "until then")
    with transaction(shop) as session:
        first = session.get_one(ModelVersion, 1)
        session.add(second := ModelVersion(**first.model_dump(exclude={"id"})))
        session.flush()
        make_champion(session, second, expected=1)
    correct(shop, "user-1", elsewhere["user-1"], "from then on")
    correct(shop, "user-3", elsewhere["user-3"], "in between")
    merge_users(shop, [UserPair("user-4", "user-7"), UserPair("user-5", "user-8")])
    Run(shop, "refresh", {}).published()
    undo_merge(shop, 2)
    for name in ("user-2", "user-3"):
        withdraw(shop, name, "no more")
    Run(shop, "refresh", {}).published()
    newest = max(snapshot.id or 0 for snapshot in snapshots_of(shop))

    def causes(earlier: int, later: int) -> dict[str, str | None]:
        compared = diff(shop, *_pair(shop, earlier, later))
        for (before, after), users in compared.matrix.items():
            assert cell_of(compared, before or NEW, after or LEFT).height == users
        known = dict(compared.users.select("user_key", "cause").iter_rows())
        return {name: known.get(key) for name, key in keys.items()}

    assert causes(2, newest) == {
        "user-1": "correction",
        "user-2": "correction ended",
        "user-3": None,
        "user-4": "merged",
        "user-5": None,
    }
    pairs = [(one.id or 0, other.id or 0) for one, other in combinations(snapshots_of(shop), 2)]
    for pair in pairs:
        compared = diff(shop, *_pair(shop, *pair))
        assert [compared.users[side].count() for side in ("before", "after")] == [
            snapshot.users for snapshot in (compared.earlier, compared.later)
        ]
        assert set(causes(*pair).values()) <= {None, "correction", "correction ended", "merged", "new user"}


def snapshots_of(settings: Settings) -> list[SegmentSnapshot]:
    with transaction(settings) as session:
        return list(list_snapshots(session))[::-1]


def test_the_difference_on_the_command_line(moved: Settings, cli: Cli, tmp_path: Path) -> None:
    shown = cli("snapshots", "diff", "1", "4").stdout
    assert "snapshot 1 → 4 · spend3 · 240 → 240 users" in shown
    assert "new events" in shown
    facts = json.loads(cli("snapshots", "diff", "1", "4", "--json").stdout)
    assert sum(cell["users"] for cell in facts["matrix"]) == 241
    assert facts["stayed"] + sum(movement["users"] for movement in facts["movements"]) == 241
    largest = facts["movements"][0]
    out = tmp_path / "cell.csv"
    cell = [row for row in facts["matrix"] if (row["before"], row["after"]) == (largest["before"], largest["after"])]
    cli("snapshots", "diff", "1", "4", "--from", largest["before"], "--to", largest["after"], "--out", str(out))
    rows = pl.read_csv(out)
    assert rows.height == cell[0]["users"]
    assert rows.columns == ["user", "before", "after", "cause"]
    cli("snapshots", "diff", "1", "4", "--from", "new", "--out", str(out), "--with-user-ids")
    assert pl.read_csv(out)["user"].to_list() == ["new"]
    assert json.loads(cli("snapshots", "diff", "--json").stdout)["earlier"] == 3


def test_what_cannot_be_compared_is_refused(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    refused = {
        ("diff",): "Snapshot 1 is the first of 'spend3'",
        ("diff", "1", "7"): "There is no published snapshot '7'",
        ("diff", "1", "1"): "Snapshot 1 is compared with itself",
        ("diff", "--from", "low"): "Name the file: --out moved.csv",
        ("show", "1", "--at", "2020-01-01"): "Give the number 1 or --at, not both",
        ("show", "--at", "lately"): "'lately' is no time; write it as 2026-03-01",
        ("show", "--at", "2020-01-01"): "No snapshot of 'spend3' is as of 2020-01-01 23:59 or before",
    }
    for words, message in refused.items():
        assert message in cli("snapshots", *words, check=False).stderr
    more_weeks(shop, planted_users(shop).head(5), range(14, 15))
    Run(shop, "refresh", {}).published()
    out = ["--out", str(tmp_path / "a.csv")]
    assert (
        "There is no segment 'hgh'. Did you mean 'high'?"
        in cli("snapshots", "diff", *out, "--to", "hgh", check=False).stderr
    )


def test_what_was_known_at_a_time(moved: Settings, cli: Cli) -> None:
    first, last = _pair(moved, 1, 4)
    at = f"{first.as_of:%Y-%m-%dT%H:%M}"
    for listed in (at, f"{first.as_of:%Y-%m-%d}", first.as_of.isoformat()):
        assert json.loads(cli("snapshots", "show", "--at", listed, "--json").stdout)["id"] == 1
    before = (first.as_of - timedelta(minutes=1)).isoformat(timespec="minutes")
    assert "or before" in cli("snapshots", "show", "--at", before, check=False).stderr
    later = f"{last.as_of + timedelta(days=9):%Y-%m-%d}"
    assert json.loads(cli("snapshots", "show", "--at", later, "--json").stdout)["id"] == 4
    user = planted_users(moved)["user"][0]
    [known] = json.loads(cli("users", "show", user, "--at", at, "--json").stdout)["history"]
    assert known["snapshot_id"] == 1
    assert "In no snapshot as of 2020-01-01" in cli("users", "show", user, "--at", "2020-01-01").stdout
