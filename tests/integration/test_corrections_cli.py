"""``segadmin users correct``, ``pin``, ``corrections`` and ``review``, as people use them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from segadmin.events.keys import show_key
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.snapshots.user import find_user
from tests.conftest import Cli

WHY = ("--reason", "the shop assistant knows")


def segment_of(settings: Settings, user: str, snapshot: int) -> str:
    key = find_user(settings, user)
    return str(assignments(settings, snapshot).filter(pl.col("user_key") == key).collect()["segment"][0])


def test_a_user_is_corrected_shown_listed_and_returned(shop: Settings, cli: Cli) -> None:
    own = segment_of(shop, "user-7", 1)
    wanted = "low" if own == "high" else "high"
    done = cli("users", "correct", "user-7", "--segment", wanted, *WHY).stdout
    assert f"{wanted} in spend3, until " in done
    assert "Snapshot 2 has it, and is current." in done
    shown = cli("users", "show", "user-7").stdout
    assert f"spend3: {wanted} · snapshot 2" in shown
    assert f"decided by correction; by the model: {own}" in shown
    assert "the shop assistant knows" in shown
    (listed,) = json.loads(cli("users", "corrections", "--json").stdout)
    assert (listed["user"], listed["segment"], listed["weight"], listed["in_force"]) == (
        show_key(find_user(shop, "user-7")),
        wanted,
        1,
        True,
    )
    end = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < end < timedelta(days=91)
    snapshot = json.loads(cli("snapshots", "show", "--json").stdout)
    assert (snapshot["corrected"], snapshot["moved"]) == (1, 1)
    assert "1 user corrected by people" in cli("snapshots", "show").stdout
    diff = json.loads(cli("snapshots", "diff", "--json").stdout)
    assert [each["cause"] for each in diff["movements"]] == ["correction"]
    withdrawn = cli("users", "correct", "user-7", "--withdraw", "--reason", "a mistake").stdout
    assert "Snapshot 3 has it" in withdrawn
    assert segment_of(shop, "user-7", 3) == own
    assert "No corrections" in cli("users", "corrections").stdout
    (ended,) = json.loads(cli("users", "corrections", "--all", "--json").stdout)
    assert (ended["in_force"], ended["withdrawn_because"]) == (False, "a mistake")
    entries = json.loads(cli("audit", "list", "--action", "users", "--json").stdout)
    assert [each["action"] for each in entries][:3] == ["users.withdraw", "users.show", "users.correct"]


def test_a_pin_never_expires_and_is_no_label(shop: Settings, cli: Cli) -> None:
    pinned = json.loads(cli("users", "pin", "user-7", *WHY, "--json").stdout)["correction"]
    assert (pinned["segment"], pinned["weight"], pinned["expires_at"]) == (segment_of(shop, "user-7", 1), 0, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("usr-7", "--segment", "low"), "There is no user 'usr-7'.*Did you mean 'user-7'"),
        (("USER-7", "--segment", "low"), "There is no user 'USER-7'.*Did you mean 'user-7'"),
        (("user-7", "--segment", "lwo"), "There is no segment 'lwo' in 'spend3'. Did you mean 'low'"),
        (("user-7", "--segment", "low", "--labels", "spend"), "There is no label set 'spend'. Did you mean 'spend3'"),
        (("user-7", "--segment", "low", "--expires", "2020-01-01"), "2020-01-01 00:00.*is past.*--expires 90d"),
        (("user-7", "--segment", "low", "--expires", "soon"), "'soon' is neither a time from now such as 90d"),
        (("user-7", "--segment", "low", "--weight", "1000"), "1000 is not between 0 and 100"),
        (("user-7",), "Give --segment SEGMENT to correct the user, or --withdraw"),
        (("user-7", "--segment", "low", "--withdraw"), "Give --segment SEGMENT to correct the user, or --withdraw"),
        (("user-7", "--withdraw"), "'user-7' was never corrected in 'spend3'.*segadmin users correct user-7"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    shop: Settings, cli: Cli, words: tuple[str, ...], message: str
) -> None:
    import re

    done = cli("users", "correct", *words, *WHY, check=False)
    assert done.returncode in {1, 2}
    assert re.search(message, " ".join(done.stderr.split()).replace("│ ", "")), done.stderr
    assert json.loads(cli("users", "corrections", "--all", "--json").stdout) == []


def test_review_lists_whom_to_look_at_and_says_why(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    listed = json.loads(cli("users", "review", "--limit", "5", "--with-user-ids", "--json").stdout)
    assert len(listed) == 5
    assert [row["priority"] for row in listed] == sorted((row["priority"] for row in listed), reverse=True)
    first = listed[0]
    assert first["user"].startswith("user-")
    assert first["probability"] >= first["second_probability"] > 0
    assert first["segment"] != first["second"]
    assert first["value"] > 0
    path = tmp_path / "review.csv"
    assert "Wrote 20 users of snapshot 1" in cli("users", "review", "--out", str(path)).stdout
    columns = pl.read_csv(path).columns
    assert columns == list(first)
    cli("users", "correct", first["user"], "--segment", first["second"], *WHY)
    after = json.loads(cli("users", "review", "--limit", "5", "--with-user-ids", "--json").stdout)
    assert first["user"] not in [row["user"] for row in after]
    assert "segadmin users correct USER" in cli("users", "review").stdout


def test_a_rollback_keeps_corrections(shop: Settings, cli: Cli) -> None:
    from segadmin.models.registry import make_champion
    from segadmin.storage.database import transaction
    from segadmin.storage.records import ModelVersion
    from tests.planted import Run

    with transaction(shop) as session:
        first = session.get_one(ModelVersion, 1)
        second = ModelVersion(**first.model_dump(exclude={"id"}))
        session.add(second)
        session.flush()
        make_champion(session, second, expected=1)
    Run(shop, "score", {}).all()
    wanted = "low" if segment_of(shop, "user-7", 2) == "high" else "high"
    cli("users", "correct", "user-7", "--segment", wanted, *WHY)
    done = cli("models", "rollback").stdout
    assert "Snapshot 1, its newest, is current, as of" in done
    assert "Snapshot 4, which is that one with the users whom people corrected since" in done
    assert segment_of(shop, "user-7", 4) == wanted
