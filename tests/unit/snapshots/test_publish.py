from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, DataError, StorageError
from segadmin.events.keys import parse_key, show_key
from segadmin.models.aliases import current_snapshot, point, pointed
from segadmin.settings import Settings
from segadmin.snapshots.export import Audience, audience, write
from segadmin.snapshots.read import assignments, find_snapshot, list_snapshots, summaries
from segadmin.snapshots.user import find_user, history, read_text
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Current, SegmentSnapshot, SegmentSummary, SnapshotState
from tests.planted import LABELS, Run, more_weeks, planted_users


def _snapshot(settings: Settings, number: int) -> SegmentSnapshot:
    with transaction(settings) as session:
        return session.get_one(SegmentSnapshot, number)


def _state(settings: Settings) -> tuple[object, ...]:
    with transaction(settings) as session:
        return (
            session.exec(select(SegmentSnapshot.id, SegmentSnapshot.state, SegmentSnapshot.users)).all(),
            len(session.exec(select(SegmentSummary)).all()),
            pointed(session, current_snapshot(LABELS)),
            Lake.of(settings).scan("assignments").select(pl.len()).collect().item(),
        )


def test_a_snapshot_holds_every_user_once_and_is_current(shop: Settings) -> None:
    with transaction(shop) as session:
        snapshot = find_snapshot(session, "current", LABELS)
        rows = summaries(session, 1)
    assert (snapshot.id, snapshot.state, snapshot.users, snapshot.previous_id) == (1, "published", 240, None)
    assert sorted(assignments(shop, 1).collect()["user_key"]) == sorted(planted_users(shop)["user_key"])
    assert [row.segment for row in rows] == ["low", "mid", "high"]
    assert sum(row.users for row in rows) == 240
    assert sum(row.share for row in rows) == pytest.approx(1)


def test_a_summary_lists_the_distinctive_categories_of_a_segment(shop: Settings) -> None:
    with transaction(shop) as session:
        rows = {row.segment: row for row in summaries(session, 1)}
    top = rows["high"].distinctive[0]
    assert top["category"] == "games"  # planted: only those who buy much buy games
    assert top["lift"] > 1.2
    assert 0 < top["share"] < 1
    assert "games" not in [entry["category"] for entry in rows["low"].distinctive]
    assert all(1 / 3 <= row.confidence <= 1 for row in rows.values())


def test_publishing_twice_changes_nothing(shop: Settings) -> None:
    run = Run(shop, "score", {}).published()
    before = _state(shop)
    assert run.stage("publish")[0]["snapshot_id"] == 2
    assert _state(shop) == before


def test_a_publish_cut_off_between_the_lake_and_sql_runs_again(shop: Settings) -> None:
    run = Run(shop, "score", {}).until("publish")
    run.call(run.attempts("publish")[0])  # and its worker dies: the outcome is never committed
    assert _snapshot(shop, 2).state == SnapshotState.BUILDING
    with transaction(shop) as session:
        assert pointed(session, current_snapshot(LABELS)) == 1
        assert [snapshot.id for snapshot in list_snapshots(session)] == [1]
    run.finish(run.call(run.attempts("publish", number=2)[0]))
    assert _snapshot(shop, 2).state == SnapshotState.PUBLISHED
    assert assignments(shop, 2).collect().height == 240
    assert _snapshot(shop, 2).job_id == run.job_id


def test_scores_made_anew_replace_those_of_a_publish_that_was_cut_off(shop: Settings) -> None:
    run = Run(shop, "score", {}).until("publish")
    run.call(run.attempts("publish")[0])
    more_weeks(shop, planted_users(shop), range(14, 15))
    run.until("publish")  # as `jobs retry --from-start` does
    run.stage("publish")
    scores = pl.concat([run.read(output["scores"]) for output in run.inputs["score"]])
    assigned = assignments(shop, 2).collect()
    assert assigned.sort("user_key").select(scores.columns).equals(scores.sort("user_key"))
    assert assignments(shop, 1).collect().height == 240


def test_the_second_of_two_concurrent_publishes_is_retried(shop: Settings) -> None:
    first, second = Run(shop, "score", {}).until("publish"), Run(shop, "score", {}).until("publish")
    begun = second.call(second.attempts("publish")[0])
    first.stage("publish")
    with pytest.raises(StorageError, match="meanwhile"):
        second.finish(begun)
    assert _snapshot(shop, 2).state == SnapshotState.BUILDING  # the second one's, which began first
    second.stage("publish")
    assert _snapshot(shop, 2).previous_id == 3


def test_a_snapshot_counts_users_who_changed_segment(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop).head(40), range(14, 17))
    Run(shop, "refresh", {}).published()
    both = [assignments(shop, number).select("user_key", "segment").collect() for number in (1, 2)]
    joined = both[0].join(both[1], on="user_key")
    snapshot = _snapshot(shop, 2)
    assert snapshot.moved == joined.filter(pl.col("segment") != pl.col("segment_right")).height > 0
    assert snapshot.previous_id == 1
    assert snapshot.rescored + snapshot.carried == snapshot.users == 240


def test_plugins_are_notified_only_after_the_commit(shop: Settings) -> None:
    import pluggy

    hookimpl, heard = pluggy.HookimplMarker("segadmin"), []

    class Listener:
        @hookimpl
        def snapshot_published(self, snapshot: SegmentSnapshot) -> None:
            heard.append((snapshot.id, _snapshot(shop, snapshot.id or 0).state))

    listener = Listener()
    manager = load_plugins(shop).manager
    manager.register(listener)
    try:
        run = Run(shop, "score", {}).until("publish")
        outcome = run.call(run.attempts("publish")[0])
        assert heard == []
        run.finish(outcome)
    finally:
        manager.unregister(listener)
    assert heard == [(2, SnapshotState.PUBLISHED)]


def test_a_pointer_moves_only_from_its_expected_target(settings: Settings) -> None:
    with transaction(settings) as session:
        point(session, "x", expected=None, target=1)
        point(session, "x", expected=1, target=2)
        with pytest.raises(StorageError, match="x was 1 and has become 2"):
            point(session, "x", expected=1, target=3)
        with pytest.raises(StorageError, match="x was None and has become 2"):
            point(session, "x", expected=None, target=3)
        assert session.get_one(Current, "x", populate_existing=True).target_id == 2


def test_a_snapshot_that_does_not_exist(shop: Settings) -> None:
    run = Run(shop, "score", {}).until("publish")
    run.call(run.attempts("publish")[0])
    with transaction(shop) as session:
        for wanted in ("2", "77", "newest"):  # 2 is still being built
            with pytest.raises(ConfigurationError, match=f"no published snapshot '{wanted}'.*snapshots list"):
                find_snapshot(session, wanted)
        with pytest.raises(ConfigurationError, match=r"no snapshot for 'spend4'. Did you mean 'spend3'"):
            find_snapshot(session, "current", "spend4")


def test_no_snapshots_yet(settings: Settings) -> None:
    with transaction(settings) as session, pytest.raises(DataError, match=r"No snapshots yet.*segadmin"):
        find_snapshot(session, "current")


def test_an_audience_is_filtered_sorted_and_pseudonymous(shop: Settings, tmp_path: Path) -> None:
    users = planted_users(shop)
    wanted = Audience(segment="high", min_probability=0.5)
    members = audience(shop, _snapshot(shop, 1), ["low", "mid", "high"], wanted).collect()
    assert members["segment"].unique().to_list() == ["high"]
    assert members["probability"].is_sorted(descending=True)
    assert members["probability"].min() >= 0.5
    assert members["probability"].to_list() == members["p_high"].to_list()
    assert {parse_key(shown) for shown in members["user"]} <= set(users["user_key"])
    with pytest.raises(ConfigurationError, match=r"no segment 'hihg'. Did you mean 'high'"):
        audience(shop, _snapshot(shop, 1), ["low", "mid", "high"], Audience(segment="hihg"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_export_with_user_ids_holds_every_user_by_raw_id(shop: Settings, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"audience{suffix}"
    rows = audience(shop, _snapshot(shop, 1), ["low", "mid", "high"], Audience(user_ids=True))
    assert write(shop, rows, path) == 240
    read = pl.read_csv(path) if suffix == ".csv" else pl.read_parquet(path)
    assert set(read["user"]) == set(planted_users(shop)["user"])
    by_id = planted_users(shop).join(assignments(shop, 1).collect(), on="user_key")
    assert dict(read.select("user", "segment").iter_rows()) == dict(by_id.select("user", "segment").iter_rows())


def test_text_that_a_spreadsheet_would_run_is_harmless_in_csv(settings: Settings, tmp_path: Path) -> None:
    frame = pl.LazyFrame({"user": ["=HYPERLINK(1)", "-5", "u1"], "p_@x": [-0.5, 0.5, 1.0], "+p": [-1, 2, 3]})
    for options, name, expected in (
        ({}, "a.csv", ["user,p_@x,'+p", "'=HYPERLINK(1),-0.5,-1", "-5,0.5,2"]),
        ({"raw_cells": True}, "a.csv", ["user,p_@x,+p", "=HYPERLINK(1),-0.5,-1", "-5,0.5,2"]),
    ):
        assert write(settings, frame, tmp_path / name, **options) == 3
        assert (tmp_path / name).read_text(encoding="utf-8-sig").splitlines()[:3] == expected
    for name, read in (("a.parquet", pl.read_parquet), ("a.jsonl", pl.read_ndjson)):
        write(settings, frame, tmp_path / name)
        assert read(tmp_path / name).equals(frame.collect())


def test_an_export_to_nowhere_and_to_an_unknown_kind_of_file(shop: Settings, tmp_path: Path) -> None:
    rows = assignments(shop, 1)
    with pytest.raises(ConfigurationError, match=r"'a.xls'. Name the file with one of: .csv, .jsonl, "):
        write(shop, rows, tmp_path / "a.xls")
    with pytest.raises(ConfigurationError, match=r"There is no folder .*nowhere"):
        write(shop, rows, tmp_path / "nowhere" / "a.csv")


def test_a_user_is_found_by_id_and_by_pseudonym(shop: Settings) -> None:
    key = find_user(shop, "user-7")
    assert find_user(shop, show_key(key)) == key
    for stranger in ("user-999", "0123456789abcdef", "zzzzzzzzzzzzzzzz"):
        with pytest.raises(DataError, match=f"There is no user '{stranger}'"):
            find_user(shop, stranger)


def test_a_users_history_and_text(shop: Settings) -> None:
    users = planted_users(shop)
    key = users.filter(pl.col("rate") == users["rate"].max())["user_key"][0]
    more_weeks(shop, users, range(14, 15))
    Run(shop, "refresh", {}).published()
    rows = history(shop, key)
    assert [(row.snapshot_id, row.current) for row in rows] == [(2, True), (1, False)]
    assert rows[0].segment == max(rows[0].probabilities, key=lambda name: rows[0].probabilities[name])
    phrases = read_text(shop, key, rows[0].model_version_id)
    assert any("games" in phrase for phrase in phrases)
