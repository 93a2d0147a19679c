from __future__ import annotations

import polars as pl
from sqlmodel import select, update

from segadmin.events.erase import forget
from segadmin.models.aliases import switch_snapshot
from segadmin.models.registry import promote_version, roll_back_champion
from segadmin.settings import Settings
from segadmin.snapshots.feed import changes_between, write_changes
from segadmin.snapshots.read import assignments
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, SnapshotSwitch
from tests.commands import command_server
from tests.feeds import replayed, segments_of
from tests.planted import LABELS, Run, more_weeks, planted_users, retrain


def changes(settings: Settings) -> pl.DataFrame:
    return Lake.of(settings).scan("changes").sort("sequence", "position").collect()


def test_who_enters_leaves_moves_and_stays() -> None:
    before = pl.LazyFrame({"user_key": [1, 2, 3, 4, 5], "segment": ["low", "low", None, None, "high"]})
    after = pl.LazyFrame(
        {"user_key": [5, 6, 4, 3, 2], "segment": ["high", None, None, "mid", "mid"], "cause": ["a", "b", "c", "d", "e"]}
    )
    assert changes_between(before, after).rows() == [
        (1, 1, "left", "low", None, "left"),
        (2, 2, "moved", "low", "mid", "e"),
        (3, 3, "moved", None, "mid", "d"),
        (4, 6, "entered", None, None, "b"),
    ]


def test_a_publication_writes_who_entered_and_the_next_one_who_moved(shop: Settings) -> None:
    first = changes(shop)
    assert first["change"].to_list() == ["entered"] * 240
    assert first["position"].to_list() == list(range(1, 241))
    assert set(first["cause"]) == {"new user"}
    more_weeks(shop, planted_users(shop).head(40), range(14, 17))
    published = Run(shop, "refresh", {}).published().inputs["publish"][0]
    second = changes(shop).filter(pl.col("sequence") == 2)
    assert second["change"].to_list() == ["moved"] * published["moved"]
    assert set(second["cause"]) <= {"new events", "time"}
    assert second["snapshot_id"].unique().to_list() == [2]
    assert replayed(changes(shop).iter_rows(named=True)) == segments_of(shop, 2)


def test_a_promotion_and_a_rollback_are_followed_too(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop), range(14, 16))
    retrain(shop, seed=5).published()
    roll_back_champion(shop, LABELS)
    promote_version(shop, "2")
    write_changes(shop, LABELS)
    with transaction(shop) as session:
        switches = session.exec(select(SnapshotSwitch.from_id, SnapshotSwitch.to_id)).all()
    assert [tuple(row) for row in switches] == [(None, 1), (1, 2), (2, 1), (1, 2)]
    rows = changes(shop)
    for sequence, snapshot in enumerate([1, 2, 1, 2], start=1):
        until = rows.filter(pl.col("sequence") <= sequence)
        assert replayed(until.iter_rows(named=True)) == segments_of(shop, snapshot)
    assert rows.filter(pl.col("sequence") == 3)["cause"].unique().to_list() == ["another model"]


def test_the_same_snapshot_again_is_no_change(shop: Settings) -> None:
    with transaction(shop) as session:
        switch_snapshot(session, LABELS, expected=1, target=1)
    write_changes(shop, LABELS)
    assert changes(shop)["sequence"].unique().to_list() == [1]


def test_records_are_written_once_though_the_process_is_killed_in_between(shop: Settings) -> None:
    with transaction(shop) as session:
        session.add(SnapshotSwitch(label_set=LABELS, from_id=1, to_id=1))
        session.add(SnapshotSwitch(label_set=LABELS, from_id=None, to_id=1))
    imports = "from segadmin.settings import get_settings; from segadmin.snapshots.feed import write_changes"
    write = f"{imports}; write_changes(get_settings(), {LABELS!r})"
    for _ in range(2):
        assert command_server().python(write, SEGADMIN_FAILPOINT="changes:kill").returncode == -9
    write_changes(shop, LABELS)
    rows = changes(shop)
    assert rows.group_by("sequence").len().sort("sequence").rows() == [(1, 240), (3, 240)]
    with transaction(shop) as session:
        assert session.exec(select(SnapshotSwitch.changes)).all() == [240, 0, 240]


def test_an_erasure_removes_the_users_records(shop: Settings) -> None:
    with transaction(shop) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    key = planted_users(shop).filter(pl.col("user") == "user-7")["user_key"][0]
    assert forget(shop, ["user-7"])[0].rows["changes"] == 1
    assert key not in changes(shop)["user_key"]
    assert key not in assignments(shop, 1).collect()["user_key"]
    assert replayed(changes(shop).iter_rows(named=True)) == segments_of(shop, 1)
