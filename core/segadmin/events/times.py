"""Parsing of times in the formats of shops' logs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import polars as pl

from segadmin.events.cells import whole_numbers
from segadmin.events.time_formats import polars_format
from segadmin.invisible import INVISIBLE
from segadmin.storage.schema import TIME

_OFFSET = r"[+-]\d{2}:?\d{2}$"
#: PostgreSQL's offset without minutes.
_HOURS = r"(:\d{2}(?:\.\d+)?[+-]\d{2})$"
#: Common formats, with suffix and zone (``None``: the given time zone). They are tried first, because trying all
#: formats takes ten times as long.
_USUAL = "%Y-%m-%d %H:%M:%S%.f"
_DIRECT = ((_USUAL, "", None), ("%Y-%m-%dT%H:%M:%S%.f", "Z", "UTC"), ("%Y-%m-%dT%H:%M:%S%.f", "", None))
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
_NAIVE = (_USUAL, "%Y-%m-%d %H:%M", "%Y-%m-%d")
#: Whether a cell is not read yet, and the first such cell.
_IS_OPEN = pl.col("time").is_null() & pl.col("cell").is_not_null()
_FIRST_OPEN = pl.col("cell").filter(_IS_OPEN).first()
#: The zone name that Java adds to an offset.
_ZONE_NAME = r"([+-]\d{2}:?\d{2}|Z)\[[\w/+-]+\]$"
#: Nanoseconds since 2001; numbers with fewer digits could be .NET ticks.
_NANOSECONDS = r"^[1-9]\d{18}$"
#: Formats without the usual separators, as (pattern, replacement).
_PLAIN = (
    (r"^(\d{4})年(\d{1,2})月(\d{1,2})日", "$1-$2-$3"),
    (r"^(\d{4})(\d{2})(\d{2})$", "$1-$2-$3"),
    (r"^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})$", "$1-$2-$3 $4:$5:$6"),
    (r"^(\d{4}-\d{1,2}-\d{1,2} \d{1,2})$", "$1:00"),
)


def read_time(column: pl.Expr, timezone: str, formats: Sequence[str] = ()) -> pl.Expr:
    """Return ``column`` (String) as UTC times; null for invalid times.

    Supported are 2026-01-31, 2026/1/31, 20260131 and 2026年1月31日, with or without 08, 08:30 or 08:30:00.5, with or
    without a zone (Z, UTC, +08:00); 20260131083000; and Unix seconds, milliseconds, microseconds and nanoseconds. If
    ``formats`` are given, only these are supported; the first that fits a cell is used.

    Args:
        column: the source's cells.
        timezone: time zone of cells without a zone.
        formats: in the notation of ``strptime``.
    """
    if formats:
        return pl.coalesce(_in_format(column, form, timezone) for form in formats)
    return column.map_batches(lambda cells: _read(cells, timezone), return_dtype=TIME)


def as_utc(column: pl.Expr, dtype: pl.DataType, timezone: str, formats: Sequence[str] = ()) -> pl.Expr:
    """Return ``column`` as UTC times; it may have dates, times, or text as for :func:`read_time`."""
    if isinstance(dtype, pl.Datetime):
        microseconds = column.dt.cast_time_unit("us")
        return _local(microseconds, timezone) if dtype.time_zone is None else microseconds.dt.convert_time_zone("UTC")
    if dtype == pl.Date:
        return _local(column.cast(pl.Datetime("us")), timezone)
    return read_time(whole_numbers(column) if dtype.is_float() else column.cast(pl.String), timezone, formats)


def _in_format(column: pl.Expr, form: str, timezone: str) -> pl.Expr:
    translated = polars_format(form)
    if translated is None:
        dtype = pl.Datetime("us", "UTC") if "%z" in form else pl.Datetime("us")
        times = column.map_elements(lambda cell: _strptime(cell, form), return_dtype=dtype)
    else:
        times = column.str.to_datetime(translated, time_unit="us", strict=False)
    return times.cast(TIME) if "%z" in form else _local(times, timezone)


def _strptime(cell: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(cell, form)  # the zone is set by the caller
    except ValueError:
        return None


def _read(cells: pl.Series, timezone: str) -> pl.Series:
    frame = cells.to_frame("cell").with_columns(time=pl.lit(None, TIME))
    for form, ending, zone in _DIRECT:
        if frame["time"].null_count() == cells.null_count():
            return frame["time"]
        if _fits(frame.select(_FIRST_OPEN).item(), form, ending):
            frame = frame.with_columns(_directly(form, ending, zone or timezone))
    if frame["time"].null_count() == cells.null_count():
        return frame["time"]
    open_rows = frame.select(_IS_OPEN.arg_true()).to_series()
    return frame["time"].scatter(open_rows, frame[open_rows].select(_any_form(pl.col("cell"), timezone)).to_series())


@lru_cache(maxsize=16)
def _directly(form: str, ending: str, timezone: str) -> pl.Expr:
    """Return the times, and where there is none yet what a cell has in this format."""
    cell = pl.col("cell")
    text = pl.when(cell.str.ends_with(ending)).then(cell.str.strip_suffix(ending)) if ending else cell
    return pl.coalesce("time", _local(text.str.to_datetime(form, time_unit="us", strict=False), timezone))


def _fits(cell: str, form: str, ending: str) -> bool:
    if not cell.endswith(ending) or ("T" in cell) != ("T" in form):  # tells in no time what trying does
        return False
    text = pl.Series([cell.removesuffix(ending)])
    return text.str.to_datetime(form, time_unit="us", strict=False).null_count() == 0


def _any_form(column: pl.Expr, timezone: str) -> pl.Expr:
    cell = column.str.replace_all(INVISIBLE, "").str.strip_chars().str.strip_chars_start("'`")
    cell = cell.str.replace(_ZONE_NAME, "$1")
    cell = cell.str.replace_all("/", "-", literal=True).str.replace(r"(\d)T(\d)", "${1} ${2}")
    cell = cell.str.replace(r"(:\d{2}),(\d)", "$1.$2")
    for pattern, replacement in _PLAIN:
        cell = cell.str.replace(pattern, replacement)
    cell = cell.str.replace(r"\s*(Z|UTC)$", "+0000").str.replace(r"([+-]\d{2}):(\d{2})$", "$1$2")
    cell = cell.str.replace(_HOURS, "${1}00")
    zoned = pl.when(cell.str.contains(_OFFSET) & cell.str.contains(":", literal=True)).then(cell)
    with_zone = pl.coalesce(zoned.str.to_datetime(form, time_unit="us", strict=False) for form in _ZONED)
    naive = pl.coalesce(cell.str.to_datetime(form, time_unit="us", strict=False) for form in _NAIVE)
    number = pl.when(cell.str.contains(r"^\d{9,16}(\.\d+)?$")).then(cell).cast(pl.Float64, strict=False)
    microseconds = pl.when(number >= 1e14).then(number).when(number >= 1e11).then(number * 1e3).otherwise(number * 1e6)
    epoch = microseconds.cast(pl.Int64, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    nanoseconds = pl.when(cell.str.contains(_NANOSECONDS)).then(cell).cast(pl.Int64, strict=False)
    precise = (nanoseconds // 1000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.coalesce(with_zone.cast(TIME), _local(naive, timezone), epoch.cast(TIME), precise.cast(TIME))


def _local(naive: pl.Expr, timezone: str) -> pl.Expr:
    """Return local times as UTC: the first of two if a time is ambiguous, null if it does not exist."""
    local = naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC").cast(TIME)
