"""Events that come after newer ones did are counted; small files become large ones, and nothing else changes."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from segadmin.errors import StorageError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.profile import profile
from segadmin.settings import Settings
from segadmin.storage import lake
from segadmin.storage.compaction import compact, join_live_events
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import Import
from segadmin_api.dashboard.data_report import page

NEWEST = datetime(2026, 1, 31, 12, tzinfo=UTC)


def take(settings: Settings, folder: Path, *ages: timedelta) -> Import:
    """Import events that are so much older than the newest one."""
    path = folder / f"{len(list(folder.glob('*.csv')))}.csv"
    lines = [f"u{n},view,i{path.stem}-{n},{(NEWEST - age).isoformat()}" for n, age in enumerate(ages)]
    path.write_text("\n".join(["user,kind,item,at", *lines]) + "\n")
    return import_file(settings, ImportRequest("events", str(path)))[0]


def test_late_events_are_counted_by_how_late_they_are(settings: Settings, tmp_path: Path) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    first = take(settings, tmp_path, timedelta(0), 30 * day)
    assert first.late == {}, "an import is not late to itself"
    second = take(settings, tmp_path, -hour, hour / 2, hour, 2 * hour, 3 * day, 40 * day)
    assert second.late == {"1 hour": 2, "1 day": 1, "1 week": 1, "more": 1}
    event_profile = profile(settings)
    assert event_profile.late == {"1 hour": 2, "1 day": 1, "1 week": 1, "more": 1}
    assert "how much older than the newest event" in page(event_profile)


def test_small_files_become_large_ones_and_nothing_else_changes(settings: Settings, tmp_path: Path) -> None:
    lake = Lake.of(settings)
    for n in range(6):
        done = take(settings, tmp_path, *[timedelta(minutes=7 * n + k) for k in range(40)])
    before, pinned = lake.scan("events").sort("event_id").collect(), lake.current_versions()
    joined = compact(settings)
    assert joined["events"]["before"] > 3 * 16
    assert joined["events"]["after"] <= 16
    assert lake.scan("events").sort("event_id").collect().equals(before)
    assert Lake.of(settings, pinned).scan("events").collect().height == before.height, "jobs under way read on"
    assert lake.latest_event == before["at"].max()
    assert compact(settings) == {}
    again, fresh = import_file(settings, ImportRequest("events", str(tmp_path / "5.csv"), again=True))
    assert (fresh, again.rows_kept, again.reasons) == (True, 0, {"duplicate_event": done.rows_kept})
    assert lake.scan("events").select(pl.len()).collect().item() == before.height


def test_compaction_without_work_does_not_wait(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path, timedelta(0))
    compact(settings)
    with ThreadPoolExecutor(1) as other, alone(settings):  # as an import that takes long
        assert other.submit(compact, settings).result(timeout=30) == {}


def test_a_table_that_was_written_to_is_compacted_again(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path, timedelta(0))
    compact(settings)
    for hour in range(1, 4):
        take(settings, tmp_path, timedelta(hours=hour), timedelta(hours=hour, minutes=1))
    assert "events" in compact(settings)
    assert compact(settings) == {}


def test_unneeded_files_are_removed_even_without_a_new_write(settings: Settings, tmp_path: Path) -> None:
    for hour in range(3):
        take(settings, tmp_path, timedelta(hours=hour))
    compact(settings)
    lake = settings.store_path / "lake" / "events"
    files = set(lake.rglob("*.parquet"))
    week = time.time() - 8 * 24 * 3600
    for path in (*lake.rglob("*.parquet"), *lake.rglob("*.json")):
        os.utime(path, (week, week))
    assert compact(settings) == {}
    assert set(lake.rglob("*.parquet")) == files, "it was looked at today"
    compacted = settings.store_path / "compacted.json"
    yesterday = {table: (version, at - 25 * 3600) for table, (version, at) in json.loads(compacted.read_text()).items()}
    compacted.write_text(json.dumps(yesterday))
    compact(settings)
    assert json.loads(compacted.read_text())["events"][1] > yesterday["events"][1]


def test_the_compaction_record_of_another_store_is_ignored(settings: Settings, tmp_path: Path) -> None:
    """A store that was restored is older, and the file may be spoilt: then all is looked at."""
    for hour in range(3):
        take(settings, tmp_path, timedelta(hours=hour))
    compacted = settings.store_path / "compacted.json"
    for spoilt in (
        json.dumps({"events": [99, time.time()]}),
        "",
        "[]",
        '{"events": 3}',
        json.dumps({"events": ["", 9e99]}),
    ):
        compacted.write_text(spoilt)
        compact(settings)
        assert json.loads(compacted.read_text())["events"][0] == Lake.of(settings).version("events")


@pytest.mark.parametrize("is_new", [True, False])
def test_two_writers_of_the_same_commit_write_it_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    """The second one looks for the commit before the first one has made it."""
    tables, commit = Lake(settings.store_path / "lake"), Commit("training-1", 1)
    frame = pl.DataFrame({"job_id": [1], "user_key": [7]})
    if not is_new:
        tables.append("trainings", frame, Commit("training-0", 1))
    real = lake._has

    def late(table: DeltaTable, wanted: Commit) -> bool:
        is_present = real(table, wanted)
        with monkeypatch.context() as patch:
            patch.setattr(lake, "_has", real)
            assert tables.append("trainings", frame, wanted)
        return is_present

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="'trainings'"):
        patch.setattr(lake, "_has", late)
        tables.append("trainings", frame, commit)
    assert not tables.append("trainings", frame, commit)
    assert tables.scan("trainings").collect().height == 1 + (not is_new)


def test_live_events_are_joined_when_there_are_many_small_files(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.of(settings)
    for n in range(4):
        take(settings, tmp_path, *[timedelta(minutes=7 * n + k) for k in range(40)])
    files, before = lake.files("events"), lake.scan("events").sort("event_id").collect()
    assert not join_live_events(settings, 16)
    assert lake.files("events") == files
    monkeypatch.setattr("segadmin.storage.compaction._MANY_PER_BUCKET", 2)
    assert join_live_events(settings, 16)
    assert lake.files("events") <= 16 < files
    assert lake.scan("events").sort("event_id").collect().equals(before)
    assert not join_live_events(settings, 16), "what was joined is not joined again"


def test_the_newest_event_is_known_to_the_microsecond(settings: Settings, tmp_path: Path) -> None:
    """A refresh is as of the newest event: one that is cut off would leave it out."""
    newest = NEWEST + timedelta(microseconds=123_456)
    take(settings, tmp_path, timedelta(0), NEWEST - newest, timedelta(microseconds=1))
    assert Lake.of(settings).latest_event == newest
    compact(settings)
    assert Lake.of(settings).latest_event == newest
    Lake.of(settings).append("events", Lake.of(settings).scan("events").head(2).collect())
    assert Lake.of(settings).latest_event == newest
