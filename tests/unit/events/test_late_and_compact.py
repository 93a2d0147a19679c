"""Events that come after newer ones did are counted; small files become large ones, and nothing else changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from segadmin.events.compact import compact
from segadmin.events.ingest import Request, import_file
from segadmin.events.lake import Lake
from segadmin.events.profile import profile
from segadmin.events.report import page
from segadmin.records import Import
from segadmin.settings import Settings

NEWEST = datetime(2026, 1, 31, 12, tzinfo=UTC)


def take(settings: Settings, folder: Path, *ages: timedelta) -> Import:
    """Import events that are so much older than the newest one."""
    path = folder / f"{len(list(folder.glob('*.csv')))}.csv"
    lines = [f"u{n},view,i{path.stem}-{n},{(NEWEST - age).isoformat()}" for n, age in enumerate(ages)]
    path.write_text("\n".join(["user,kind,item,at", *lines]) + "\n")
    return import_file(settings, Request("events", str(path)))[0]


def test_late_events_are_counted_by_how_late_they_are(settings: Settings, tmp_path: Path) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    first = take(settings, tmp_path, timedelta(0), 30 * day)
    assert first.late == {}, "an import is not late to itself"
    second = take(settings, tmp_path, -hour, hour / 2, hour, 2 * hour, 3 * day, 40 * day)
    assert second.late == {"1 hour": 2, "1 day": 1, "1 week": 1, "more": 1}
    found = profile(settings)
    assert found.late == {"1 hour": 2, "1 day": 1, "1 week": 1, "more": 1}
    assert "older than the newest event there was" in page(found)


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
    again, fresh = import_file(settings, Request("events", str(tmp_path / "5.csv"), again=True))
    assert (fresh, again.rows_kept, again.reasons) == (True, 0, {"duplicate_event": done.rows_kept})
    assert lake.scan("events").select(pl.len()).collect().item() == before.height
