"""The earliest and the latest time in each file of a Delta table, which its log has: readers skip files by them."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import unquote

import polars as pl

from segadmin.storage.delta_tables import LocalTable, scan_table
from segadmin.storage.schema import TIME, time_literal


def time_statistics(content: pl.DataFrame) -> dict[str, object]:
    """Return the Delta statistics of a file with ``content``, of its columns of times."""
    times = [content[name] for name, dtype in content.schema.items() if dtype == TIME]
    with_values = [column for column in times if column.null_count() < column.len()]
    return {
        "numRecords": content.height,
        "minValues": {column.name: _as_json(column.min()) for column in with_values},
        "maxValues": {column.name: _as_json(column.max()) for column in with_values},
        "nullCount": {column.name: column.null_count() for column in times},
    }


def newest_time(table: LocalTable, column: str) -> datetime | None:
    """Return the latest time in ``column``, by the statistics of the files; ``None`` if there is none.

    Delta-rs cuts statistics off at milliseconds, so the files that may have the latest time are read; all files, if
    one has no statistics.
    """
    statistics, maximum = pl.DataFrame(table.get_add_actions(flatten=True)), f"max.{column}"
    if maximum not in statistics.columns or statistics[maximum].null_count():
        return _latest(scan_table(table, {}), column)
    times = pl.col(maximum).cast(TIME)
    newest: datetime | None = statistics.select(times.max()).item()
    if newest is None:
        return None
    is_cut_off = times.dt.microsecond() % 1000 == 0
    candidates = statistics.filter(times >= time_literal(newest).dt.truncate("1ms"), is_cut_off)["path"]
    paths = [f"{table.table_uri}/{unquote(path)}" for path in candidates]
    exact = _latest(pl.scan_parquet(paths, glob=False), column) if paths else None
    return newest if exact is None else max(newest, exact)


def _latest(rows: pl.LazyFrame, column: str) -> datetime | None:
    latest: datetime | None = rows.select(pl.col(column).cast(TIME).max()).collect().item()
    return latest


def _as_json(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
