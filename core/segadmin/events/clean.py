"""Turning a file's cells into a table's values, and telling which rows cannot be used, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from segadmin.events.cells import whole_numbers
from segadmin.events.mapping import Columns
from segadmin.events.schema import KIND_ALIASES, KINDS
from segadmin.events.times import read_time

#: No shop's log is older; dates before it are slips, such as the epoch.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
#: Columns that :func:`clean` adds to what the file has.
PROBLEM = ("problem", "problem_column", "problem_value")

_IDS = ("user", "item", "event_id")
_NUMBERS = {"events": ("quantity", "price", "duration", "rating"), "items": ("price",), "labels": ()}
_TIMES = {"events": ("at",), "items": (), "labels": ("observed_from", "as_of", "outcome_until")}
#: A refund has a negative price, but there is no negative quantity or stay.
_NOT_NEGATIVE = ("quantity", "duration")

_Check = tuple[pl.Expr, str, str]


def clean(chunk: pl.DataFrame, table: str, columns: Columns, timezone: str) -> pl.DataFrame:
    """Return the table's fields with their types, and the first problem of each row (null where it has none).

    Args:
        chunk: the file's rows as they are.
        table: events, items or labels.
        columns: which column is which field.
        timezone: whose clock times without a zone mean.
    """
    # The row index gives the frame its height where every field is a constant.
    ids = {columns.columns.get(name, name) for name in _IDS} & set(chunk.columns)
    chunk = chunk.with_columns(whole_numbers(pl.col(name)) for name in ids if chunk[name].dtype.is_float())
    cells = chunk.select(pl.row_index("row"), **columns.fields(table, chunk.columns)).drop("row")
    typed = cells.with_columns(
        *(pl.col(name).cast(pl.Float64, strict=False) for name in _NUMBERS[table]),
        *(read_time(pl.col(name), timezone) for name in _TIMES[table]),
        *([_kind()] if table == "events" else []),
    )
    checks = list(_checks(table))
    both = pl.concat([typed, cells.rename(lambda name: f"raw_{name}")], how="horizontal")
    return both.with_columns(
        pl.coalesce(*(pl.when(bad).then(pl.lit(reason)) for bad, reason, _ in checks), None).alias("problem"),
        pl.coalesce(*(pl.when(bad).then(pl.lit(name)) for bad, _, name in checks), None).alias("problem_column"),
        pl.coalesce(*(pl.when(bad).then(f"raw_{name}") for bad, _, name in checks), None).alias("problem_value"),
    ).select(*typed.columns, *PROBLEM)


def extras(chunk: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return the extra columns as JSON objects, null where none are wanted."""
    if not columns:
        return pl.Series("extras", [None] * chunk.height, dtype=pl.String)
    return chunk.select(pl.struct(*columns).struct.json_encode().alias("extras"))["extras"]


def _kind() -> pl.Expr:
    return pl.col("kind").str.to_lowercase().replace(dict(KIND_ALIASES))


def _checks(table: str) -> list[_Check]:
    needed = {"events": ("user", "item"), "items": ("item",), "labels": ("user", "segment")}[table]
    checks: list[_Check] = [(pl.col(name).is_null(), f"missing_{name}", name) for name in needed]
    if table == "events":
        checks.append((~pl.col("kind").is_in(KINDS) | pl.col("kind").is_null(), "unknown_kind", "kind"))
    for name in _TIMES[table]:
        given = pl.lit(value=True) if table == "events" else pl.col(f"raw_{name}").is_not_null()
        latest = datetime.now(UTC) + timedelta(days=1 if name == "at" else 36_500)
        impossible = (pl.col(name) < EARLIEST) | (pl.col(name) > latest)
        checks.append((given & (pl.col(name).is_null() | impossible), "bad_time", name))
    if table == "labels":
        nothing = pl.col("observed_from") >= pl.col("as_of")  # no event can lie between them
        checks.append((nothing.fill_null(value=False), "bad_time", "observed_from"))
    for name in _NUMBERS[table]:
        given = pl.col(f"raw_{name}").is_not_null()
        unusable = pl.col(name).is_null() | ~pl.col(name).is_finite()
        if name in _NOT_NEGATIVE:
            unusable = unusable | (pl.col(name) < 0)
        checks.append((given & unusable, "bad_number", name))
    return checks


def mark(cleaned: pl.DataFrame, bad: pl.Expr, reason: str, column: str) -> pl.DataFrame:
    """Give the rows that are ``bad`` a problem, that of ``column``."""
    told = (pl.lit(reason), pl.lit(column), pl.col(column).cast(pl.String))
    return cleaned.with_columns(
        pl.when(bad).then(one).otherwise(name).alias(name) for name, one in zip(PROBLEM, told, strict=True)
    )
