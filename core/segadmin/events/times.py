"""Reading times in the forms that shops' logs have."""

from __future__ import annotations

import polars as pl

from segadmin.events.schema import TIME

_OFFSET = r"[+-]\d{2}:?\d{2}$"
#: What PostgreSQL writes: an offset of hours only.
_HOURS = r"(:\d{2}(?:\.\d+)?[+-]\d{2})$"
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
_NAIVE = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
#: What a time without a zone may be written as, for messages.
FORMS = "2026-01-31, 2026-01-31 08:30, 2026-01-31T08:30:00+08:00, or Unix seconds or milliseconds"


def read_time(column: pl.Expr, timezone: str) -> pl.Expr:
    """Return ``column`` (String) as UTC times, null where it is none of :data:`FORMS`.

    Args:
        column: the cells as they came.
        timezone: whose clock the cells without a zone mean.
    """
    cell = column.str.strip_chars().str.replace_all("/", "-", literal=True).str.replace(r"(\d)T(\d)", "${1} ${2}")
    cell = cell.str.replace(r"\s*(Z|UTC)$", "+0000").str.replace(r"([+-]\d{2}):(\d{2})$", "$1$2")
    cell = cell.str.replace(_HOURS, "${1}00")
    zoned = pl.when(cell.str.contains(_OFFSET) & cell.str.contains(":", literal=True)).then(cell)
    with_zone = pl.coalesce(zoned.str.to_datetime(form, time_unit="us", strict=False) for form in _ZONED)
    naive = pl.coalesce(cell.str.to_datetime(form, time_unit="us", strict=False) for form in _NAIVE)
    local = naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    number = pl.when(cell.str.contains(r"^\d{9,14}(\.\d+)?$")).then(cell).cast(pl.Float64, strict=False)
    milliseconds = pl.when(number >= 1e11).then(number).otherwise(number * 1000)
    epoch = (milliseconds * 1000).cast(pl.Int64, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.coalesce(with_zone.cast(TIME), local.cast(TIME), epoch.cast(TIME))
