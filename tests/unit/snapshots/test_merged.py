"""What refreshes make of users who were merged, and of merges that were undone."""

from __future__ import annotations

import json
from datetime import timedelta

import polars as pl
import pytest
from sqlmodel import update

from segadmin.events import merge_rows
from segadmin.events.erase import forget
from segadmin.events.keys import show_key
from segadmin.events.merge import UserPair, list_merges, merge_users, undo_merge
from segadmin.settings import Settings
from segadmin.snapshots.diff import diff
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.read import assignments
from segadmin.storage import audit
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, MergeState, SegmentSnapshot
from tests.conftest import Cli
from tests.feeds import replayed, segments_of
from tests.planted import START, Run, planted_users

PAIRS = 20


def _two(settings: Settings, earlier: int, later: int) -> tuple[SegmentSnapshot, SegmentSnapshot]:
    with transaction(settings) as session:
        return session.get_one(SegmentSnapshot, earlier), session.get_one(SegmentSnapshot, later)


def _merge(settings: Settings) -> tuple[list[int], list[int]]:
    """Merge the first users into the last ones; return both."""
    users = planted_users(settings)
    old, new = users.head(PAIRS), users.tail(PAIRS)
    pairs = [UserPair(*names) for names in zip(old["user"], new["user"], strict=True)]
    assert {done.state for done in merge_users(settings, pairs)} == {"merged"}
    return old["user_key"].to_list(), new["user_key"].to_list()


def _with_recent_events(settings: Settings, keys: list[int]) -> int:
    recent = Lake.of(settings).scan("events").filter(pl.col("at") >= START + timedelta(weeks=10))
    return int(recent.filter(pl.col("came_as").is_in(keys)).collect()["user_key"].n_unique())


@pytest.mark.parametrize("table", ["merged_users", "events", "users"])
@pytest.mark.parametrize("undone", [False, True])
def test_a_refresh_completes_a_merge_that_was_killed(
    shop: Settings, monkeypatch: pytest.MonkeyPatch, table: str, undone: bool
) -> None:
    names, keys = (planted_users(shop).head(2)[column].to_list() for column in ("user", "user_key"))
    if undone:
        merge_users(shop, [UserPair(*names)])
        Run(shop, "refresh", {"time": "on-event"}).published()
    real = merge_rows._replace

    def killed(lake: Lake, name: str, *frames: pl.DataFrame) -> None:
        real(lake, name, *frames)
        if name == table:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(merge_rows, "_replace", killed)
        undo_merge(shop, 1) if undone else merge_users(shop, [UserPair(*names)])
    number = Run(shop, "refresh", {"time": "on-event"}).published().inputs["publish"][0]["snapshot_id"]
    assert [merge.state for merge in list_merges(shop)] == [MergeState.UNDONE if undone else MergeState.MERGED]
    published = set(assignments(shop, number).collect()["user_key"])
    assert published == set(Lake.of(shop).scan("users").collect()["user_key"])
    assert (keys[0] in published, keys[1] in published) == (undone, True)
    entries = audit.entries(shop, "data")
    assert [each.action for each in entries] == (["data.unmerge", "data.merge"] if undone else ["data.merge"])


def test_the_merged_leave_and_the_others_are_scored_again(shop: Settings, cli: Cli) -> None:
    old, new = _merge(shop)
    run = Run(shop, "refresh", {"time": "on-event"}).published()
    assert run.inputs["publish"][0]["rescored_by"] == {"new events": _with_recent_events(shop, old)}
    after = assignments(shop, 2).collect()
    assert after.height == 240 - PAIRS
    assert not set(after["user_key"]) & set(old)
    tombstones = Lake.of(shop).scan("assignments", snapshot_id=2).filter(pl.col("has_left")).collect()
    assert set(tombstones["user_key"]) == set(old)
    assert set(tombstones["cause"]) == {Cause.MERGED}
    users = diff(shop, *_two(shop, 1, 2)).users
    assert dict(users.group_by("cause").len().iter_rows())["merged"] == PAIRS
    movements = diff(shop, *_two(shop, 1, 2)).movements
    assert sum(each.users for each in movements) + users["cause"].null_count() == 240
    changes = Lake.of(shop).scan("changes").sort("sequence", "position").collect()
    left = changes.filter(pl.col("change") == "left")
    assert set(left["user_key"]) == set(old)
    assert left["cause"].unique().to_list() == ["merged"]
    assert replayed(changes.iter_rows(named=True)) == segments_of(shop, 2)
    shown = json.loads(cli("users", "show", show_key(old[0]), "--json").stdout)
    assert shown["user_key"] == show_key(new[0])
    assert [merge["user_key"] for merge in shown["merged"]] == [show_key(old[0])]
    by_lookup = SegmentLookup(shop)
    assert by_lookup.find([old[0]]) == by_lookup.find([new[0]])
    assert by_lookup.find([old[0]]) is not None


def test_an_undone_merge_gives_both_their_segments_back(shop: Settings) -> None:
    before = assignments(shop, 1).select("user_key", "segment", "probability").sort("user_key").collect()
    old, _ = _merge(shop)
    Run(shop, "refresh", {"time": "on-event"}).published()
    for number in range(1, PAIRS + 1):
        undo_merge(shop, number)
    Run(shop, "refresh", {"time": "on-event"}).published()
    after = assignments(shop, 3).select("user_key", "segment", "probability").sort("user_key").collect()
    assert after.equals(before)
    causes = diff(shop, *_two(shop, 2, 3)).users.filter(pl.col("user_key").is_in(old))["cause"].unique().to_list()
    assert causes == [Cause.NEW]
    assert set(diff(shop, *_two(shop, 1, 2)).users["cause"]) >= {Cause.MERGED}
    changes = Lake.of(shop).scan("changes").sort("sequence", "position").collect()
    assert replayed(changes.iter_rows(named=True)) == segments_of(shop, 3)


def test_forgetting_one_of_two_takes_the_history_of_both(shop: Settings) -> None:
    old, new = _merge(shop)
    Run(shop, "refresh", {"time": "on-event"}).published()
    with transaction(shop) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    [erased] = forget(shop, [planted_users(shop)["user"][0]])
    assert erased.rows["assignments"] == 4  # both in the first snapshot, one scored again, one left
    assert erased.rows["changes"] >= 3
    assert erased.model_versions == [1]
    for table in ("assignments", "changes", "trainings", "predictions", "events", "labels", "users", "merged_users"):
        assert not set(Lake.of(shop).scan(table).collect()["user_key"]) & {old[0], new[0]}
