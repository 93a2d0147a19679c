"""The checks of cleaned rows: which rows are unusable, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from segadmin.contracts.event_kinds import KINDS
from segadmin.events.mapping import Mapping
from segadmin.storage.schema import time_literal

#: Dates before this are errors, such as the Unix epoch.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
#: The schema of problems of unusable rows.
PROBLEM = {"line": pl.Int64, "reason": pl.String, "column": pl.String, "value": pl.String}
_NEEDED = {"events": ("user", "item"), "items": ("item",), "labels": ("user", "segment")}
#: Maximum plausible values; prices are of a whole line, durations in seconds (a week).
_LARGEST = {"quantity": 1e6, "price": 1e9, "unit_price": 1e9, "duration": 604_800.0, "rating": 1e3}
#: Why a time that is in the future makes a row unusable; times of labels may be.
_FUTURE = {"at": "future_time"}
Check = tuple[pl.Expr, str, str]
NUMBERS = {"events": ("quantity", "price", "unit_price", "duration", "rating"), "items": ("price",), "labels": ()}
TIMES = {"events": ("at",), "items": (), "labels": ("observed_from", "as_of", "outcome_until")}


def row_checks(cells: pl.DataFrame, table: str, mapping: Mapping) -> Iterator[Check]:
    """Yield conditions for unusable rows, each with its reason and field, in order of precedence."""
    is_given = {
        name: pl.col(f"raw_{name}").is_not_null() for name in cells.columns if cells[name].null_count() < cells.height
    }
    for name in _NEEDED[table]:
        yield pl.col(name).is_null(), f"missing_{name}", name
    if table == "events":
        yield ~pl.col("kind").is_in(KINDS) | pl.col("kind").is_null(), "unknown_kind", "kind"
    for name in TIMES[table]:
        applies = pl.lit(value=True) if table == "events" else pl.col(f"raw_{name}").is_not_null()
        tolerance = timedelta(seconds=mapping.rules.future_seconds) if name == "at" else timedelta(days=36_500)
        is_early = pl.col(name) < time_literal(EARLIEST)
        yield applies & (pl.col(name).is_null() | is_early), "bad_time", name
        yield (
            applies & (pl.col(name) > time_literal(datetime.now(UTC) + tolerance)),
            _FUTURE.get(name, "bad_time"),
            name,
        )
    if table == "labels":
        is_empty = pl.col("observed_from") >= pl.col("as_of")  # no event can be between them
        yield is_empty.fill_null(value=False), "bad_time", "observed_from"
    if table == "events" and "currency" in is_given and mapping.currency is not None:
        supported = [mapping.currency.upper(), *(name.upper() for name in mapping.rates)]
        yield (
            (is_given["currency"] & ~pl.col("currency").str.to_uppercase().is_in(supported)),
            "unknown_currency",
            "currency",
        )
    for name in NUMBERS[table]:
        computed = name == "price" and "unit_price" in is_given
        if name not in is_given and not computed:
            continue
        applies = is_given.get(name, pl.lit(value=False))
        if name == "unit_price" and "price" in is_given:  # the total takes precedence over the unit price
            applies = applies & ~is_given["price"]
        unusable = pl.col(name).is_null() | ~pl.col(name).is_finite()
        if name in {"quantity", "duration"}:  # prices of refunds and discounts can be negative
            unusable = unusable | (pl.col(name) < 0)
        yield applies & unusable, "bad_number", name
        largest = 5.0 if name == "rating" and mapping.units.rating is not None else _LARGEST[name]
        impossible = pl.col(name).abs() > largest
        if name == "rating":
            impossible = impossible | (pl.col(name) < 0)
        yield impossible.fill_null(value=False), "impossible_value", name


def divide(
    typed: pl.DataFrame, cells: pl.DataFrame, lines: pl.Series, checks: list[Check]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that pass all checks, and the first problem of each other row."""
    rows = typed.hstack([column.alias(f"raw_{column.name}") for column in cells])
    numbered = (pl.when(unusable).then(pl.lit(n, pl.UInt8)) for n, (unusable, *_) in enumerate(checks))
    problem = rows.select(pl.coalesce(*numbered, pl.lit(None, pl.UInt8)).alias("problem")).to_series()
    good = pl.DataFrame([lines.alias("line"), *typed])
    if problem.null_count() == len(problem):
        return good, pl.DataFrame(schema=PROBLEM)
    is_bad = problem.is_not_null()
    return good.filter(~is_bad), _problems(rows.hstack([lines.alias("line"), problem]).filter(is_bad), checks)


def _problems(rows: pl.DataFrame, checks: list[Check]) -> pl.DataFrame:
    """Return the first problem of each row, with the original cell."""
    problems = []
    for (number,), group in rows.group_by(["problem"], maintain_order=True):
        _, reason, column = checks[number]
        value = pl.col(f"raw_{column}").cast(pl.String, strict=False)
        problems.append(group.select("line", reason=pl.lit(reason), column=pl.lit(column), value=value))
    return pl.concat(problems).sort("line")
