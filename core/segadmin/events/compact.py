"""Compaction: the small files that many imports leave become large ones, which read faster."""

from __future__ import annotations

from segadmin.events.alone import alone
from segadmin.events.lake import Lake
from segadmin.events.schema import SCHEMAS
from segadmin.settings import Settings

_TABLES = tuple(SCHEMAS)
#: Jobs read the lake as it was when they began; the files that they read stay for a week.
KEPT_HOURS = 7 * 24


def compact(settings: Settings) -> dict[str, dict[str, int]]:
    """Join small files, table by table, and remove those that nobody has needed for a week.

    Returns:
        Of each table where there was something to join, the number of files ``before`` and ``after``.

    Raises:
        StorageError: the lake cannot be written.
    """
    lake = Lake.of(settings)
    done = {}
    with alone(settings):
        for table in _TABLES:
            before = lake.files(table)
            lake.compact(table)
            lake.vacuum(table, hours=KEPT_HOURS)
            after = lake.files(table)
            if after != before:
                done[table] = {"before": before, "after": after}
    return done
