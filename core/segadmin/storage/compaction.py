"""Compaction: the small files that many imports leave become large ones, which read faster."""

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
#: Jobs read the lake as it was when they began; the files that they read stay for a week.
KEPT_HOURS = 7 * 24
#: A table that nobody has written to since is looked at again after so long, for files that are a week old by then.
_AGAIN_SECONDS = 24 * 3600

#: Table → its version after it was compacted, and when that was (seconds since 1970).
_Compacted = dict[str, tuple[int, float]]


def compact(settings: Settings) -> dict[str, dict[str, int]]:
    """Join small files, table by table, and remove those that nobody has needed for a week.

    Tables that nobody wrote to since the last time are left alone; where that is all of them, nobody is waited for.

    Returns:
        Of each table where there was something to join, the number of files ``before`` and ``after``.

    Raises:
        StorageError: the lake cannot be written.
    """
    lake = Lake.of(settings)
    if not _due(lake, _read(settings)):
        return {}
    done = {}
    with alone(settings):
        compacted = _read(settings)
        for table in _due(lake, compacted):
            before = lake.files(table)
            lake.compact(table)
            lake.vacuum(table, hours=KEPT_HOURS)
            after = lake.files(table)
            if after != before:
                done[table] = {"before": before, "after": after}
            if (version := lake.version(table)) is not None:
                compacted[table] = (version, time.time())
        _write(settings, compacted)
    return done


def _due(lake: Lake, compacted: _Compacted) -> list[str]:
    """Return the tables that were written to since they were compacted, or were compacted too long ago."""
    moment = time.time()
    due = []
    for table in _TABLES:
        version, (known, at) = lake.version(table), compacted.get(table, (None, 0.0))
        if version is not None and not (version == known and moment - _AGAIN_SECONDS < at <= moment):
            due.append(table)
    return due


def _path(settings: Settings) -> Path:
    return settings.store_path / "compacted.json"


def _read(settings: Settings) -> _Compacted:
    try:
        return {table: (version, at) for table, (version, at) in json.loads(_path(settings).read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):  # none yet, or none of ours: all are due
        return {}


def _write(settings: Settings, compacted: _Compacted) -> None:
    draft = _path(settings).with_suffix(".draft")
    draft.write_text(json.dumps(compacted))
    put(draft, _path(settings))
