"""Compaction: joins the small files of many imports into large ones, which are faster to read."""

from __future__ import annotations

import json
import time
from pathlib import Path

from segadmin.files import put
from segadmin.settings import Settings
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake
from segadmin.storage.schema import SCHEMAS

_TABLES = tuple(SCHEMAS)
#: Jobs read the table versions of the time they started, so unused files are kept for a week.
KEPT_HOURS = 7 * 24
#: A table without new writes is compacted again after this time, to remove the files that have expired by then.
_RECOMPACT_SECONDS = 24 * 3600

#: Live events are joined when there are so many files per bucket of less than so many bytes, into larger ones.
_MANY_PER_BUCKET, _SMALL_BYTES, _JOINED_BYTES = 32, 2**20, 8 * 2**20

#: Table → its version after the last compaction, and the time of that (seconds since 1970).
_Compacted = dict[str, tuple[int, float]]


def compact(settings: Settings) -> dict[str, dict[str, int]]:
    """Join small files, table by table, and remove files that have not been needed for a week.

    Tables without new writes since the last compaction are skipped. If all are skipped, the import lock is not taken.

    Returns:
        For each table whose files were joined, the number of files ``before`` and ``after``.

    Raises:
        StorageError: the lake cannot be written.
    """
    lake = Lake.of(settings)
    if not _due(lake, _read(settings)):
        return {}
    file_counts = {}
    with alone(settings):
        compacted = _read(settings)
        for table in _due(lake, compacted):
            before = lake.files(table)
            lake.compact(table)
            lake.vacuum(table, hours=KEPT_HOURS)
            after = lake.files(table)
            if after != before:
                file_counts[table] = {"before": before, "after": after}
            if (version := lake.version(table)) is not None:
                compacted[table] = (version, time.time())
        _write(settings, compacted)
    return file_counts


def join_live_events(settings: Settings, buckets: int) -> bool:
    """Join the small files of live events if there are many; return whether it did.

    An import every second leaves tens of thousands of files a day, and every import and refresh opens all of them.
    Only files of a few megabytes are written, so that the cost does not grow with the log; :func:`compact` joins them
    further, and removes those that are not needed any more.

    Raises:
        StorageError: the lake cannot be written.
    """
    lake = Lake.of(settings)
    if lake.small_files("events", _SMALL_BYTES) <= _MANY_PER_BUCKET * buckets:
        return False
    with alone(settings):
        lake.compact("events", _JOINED_BYTES)
    return True


def _due(lake: Lake, compacted: _Compacted) -> list[str]:
    """Return the tables with writes since their last compaction, or whose last compaction is too old."""
    now = time.time()
    due = []
    for table in _TABLES:
        version, (last_version, compacted_at) = lake.version(table), compacted.get(table, (None, 0.0))
        if version is not None and not (version == last_version and now - _RECOMPACT_SECONDS < compacted_at <= now):
            due.append(table)
    return due


def _path(settings: Settings) -> Path:
    return settings.store_path / "compacted.json"


def _read(settings: Settings) -> _Compacted:
    try:
        return {table: (version, at) for table, (version, at) in json.loads(_path(settings).read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):  # missing or damaged: all are due
        return {}


def _write(settings: Settings, compacted: _Compacted) -> None:
    temporary = _path(settings).with_suffix(".draft")
    temporary.write_text(json.dumps(compacted))
    put(temporary, _path(settings))
