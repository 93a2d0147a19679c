"""Turning a source's cells into a table's values, and telling which rows cannot be used, and why.

Every rule has a name. One that finds a row unusable puts it into quarantine under that name; one that mends a value
is counted under it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from segadmin.errors import DataError
from segadmin.events.cells import whole_numbers
from segadmin.events.kinds import KIND_ALIASES, KINDS
from segadmin.events.mapping import RETURN, Mapping
from segadmin.events.personal import mask
from segadmin.events.source import LINE, UNREADABLE, UNREADABLE_ROW
from segadmin.events.tidy import tidy
from segadmin.events.times import as_utc

#: No shop's log is older; dates before it are slips, such as the epoch.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
#: What tells a row that cannot be used.
PROBLEM = {"line": pl.Int64, "reason": pl.String, "column": pl.String, "value": pl.String}

_NUMBERS = {"events": ("quantity", "price", "duration", "rating"), "items": ("price",), "labels": ()}
_TIMES = {"events": ("at",), "items": (), "labels": ("observed_from", "as_of", "outcome_until")}
_NEEDED = {"events": ("user", "item"), "items": ("item",), "labels": ("user", "segment")}
#: What people wrote, as opposed to ids: mended where it is no plain text.
_WRITTEN = ("text", "title", "category", "brand")
#: Beyond these, a number is a slip: of a whole line; of seconds, a week.
_LARGEST = {"quantity": 1e6, "price": 1e9, "duration": 604_800.0, "rating": 1e3}

_Check = tuple[pl.Expr, str, str]


@dataclass(frozen=True)
class Cleaned:
    """A chunk told apart."""

    good: pl.DataFrame  #: the table's fields with their types, and ``line``
    bad: pl.DataFrame  #: columns of :data:`PROBLEM`: the first problem of each row
    changes: Counter[str]  #: rule → values that it mended


def clean(chunk: pl.DataFrame, table: str, mapping: Mapping, first_line: int = 1) -> Cleaned:
    """Return a chunk's rows as the table's fields, and those that cannot be used.

    Args:
        chunk: the source's rows as they are; see :func:`segadmin.events.cells.readable`.
        table: events, items or labels.
        mapping: which column is which field, and in what units.
        first_line: the number of the first row; the others follow it.

    Raises:
        ConfigurationError: the mapping names a field that does not exist.
        DataError: a needed field is in no column; or prices are in several currencies, and the mapping has no rates.
    """
    lines = pl.int_range(first_line, first_line + chunk.height, eager=True).alias("line")
    chunk, lines, unreadable = _unreadable(chunk.drop(LINE, strict=False), lines)
    cells = _cells(chunk, table, mapping)
    typed, changes = _written(_typed(cells, table, mapping), mapping)
    if table == "events":
        typed, returns = _returns(_one_currency(typed, mapping))
        changes["return"] += returns
    checks = list(_checks(cells, table, mapping))
    if table != "labels":
        typed = typed.with_columns(_extras(chunk, mapping))
    both = pl.concat([typed, cells.rename(lambda name: f"raw_{name}")], how="horizontal")
    both = both.with_columns(
        line=lines,
        problem=pl.coalesce(
            *(pl.when(unusable).then(pl.lit(n, pl.UInt8)) for n, (unusable, *_) in enumerate(checks)), None
        ),
    )
    if both["problem"].null_count() == both.height:
        bad = pl.DataFrame(schema=PROBLEM)
    else:
        bad = _problems(both.filter(pl.col("problem").is_not_null()), checks)
        both = both.filter(pl.col("problem").is_null())
    return Cleaned(both.select("line", *typed.columns), pl.concat([unreadable, bad]).sort("line"), +changes)


def complete(chunk: pl.DataFrame, table: str, mapping: Mapping) -> pl.DataFrame:
    """Return ``chunk`` with the needed columns that it lacks as nulls: in a queue a bad row holds up no other."""
    lacking = sorted(set(mapping.columns_of(table)) - set(chunk.columns))
    return chunk.with_columns(pl.lit(None, pl.String).alias(name) for name in lacking)


def _unreadable(chunk: pl.DataFrame, lines: pl.Series) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Tell the rows apart that the source could not read: return the others, their lines, and what was wrong."""
    if UNREADABLE not in chunk.columns:
        return chunk, lines, pl.DataFrame(schema=PROBLEM)
    bad = chunk[UNREADABLE].is_not_null()
    chunk = chunk.with_columns(lines)
    told = chunk.filter(bad).select(
        "line", reason=UNREADABLE, column=pl.lit(None, pl.String), value=pl.lit(None, pl.String)
    )
    rest = chunk.filter(~bad)
    if rest.is_empty() and set(chunk.columns) == {UNREADABLE, UNREADABLE_ROW, "line"}:
        raise DataError(f"No row can be read: the first one is {told['reason'][0]}. Is it the right --source?")
    return rest.drop(UNREADABLE, UNREADABLE_ROW, "line"), rest["line"], told


def _extras(chunk: pl.DataFrame, mapping: Mapping) -> pl.Series:
    """Return the extra columns as JSON objects, null where none are wanted."""
    if not mapping.extras:
        return pl.Series("extras", [None], dtype=pl.String).new_from_index(0, chunk.height)
    return chunk.select(pl.struct(*mapping.extras).struct.json_encode().alias("extras"))["extras"]


def _cells(chunk: pl.DataFrame, table: str, mapping: Mapping) -> pl.DataFrame:
    """Return the fields as the source has them; blank text as null."""
    # The row index gives the frame its height where every field is a constant.
    cells = chunk.select(pl.row_index("row"), **mapping.fields(table, chunk.columns)).drop("row")
    blank = [pl.col(name).str.strip_chars() for name, kind in cells.schema.items() if kind == pl.String]
    return cells.with_columns(pl.when(text != "").then(text) for text in blank)


def _typed(cells: pl.DataFrame, table: str, mapping: Mapping) -> pl.DataFrame:
    numbers, times = _NUMBERS[table], _TIMES[table]
    factors = mapping.units.factors
    columns = []
    for name, kind in cells.schema.items():
        column = pl.col(name)
        if name in numbers:
            value = _number(column) if kind == pl.String else column.cast(pl.Float64, strict=False)
            factor = factors.get(name, 1.0)
            columns.append(value if factor == 1.0 else value * factor)
        elif name in times:
            columns.append(as_utc(column, kind, mapping.timezone))
        else:
            columns.append(whole_numbers(column) if kind.is_float() else column.cast(pl.String))
    typed = cells.select(columns)
    if table != "events":
        return typed
    words = {word.lower(): kind for word, kind in (KIND_ALIASES | mapping.kinds).items()}
    return typed.with_columns(pl.col("kind").str.to_lowercase().replace(words))


def _number(column: pl.Expr) -> pl.Expr:
    """Read 12.5, and where that fails 1,234.5 and ¥12.5."""
    plain = column.cast(pl.Float64, strict=False)
    told = column.str.extract(r"^[¥￥$€£]?\s*(-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?)\s*元?$")
    return pl.coalesce(plain, told.str.replace_all(",", "").cast(pl.Float64, strict=False))


def _written(typed: pl.DataFrame, mapping: Mapping) -> tuple[pl.DataFrame, Counter[str]]:
    """Mend what people wrote, and mask what in it tells who they are."""
    changes: Counter[str] = Counter()
    for name in set(_WRITTEN) & set(typed.columns) if mapping.rules.clean_text else ():
        mended, counts = tidy(typed[name])
        changes.update(counts)
        typed = typed.with_columns(mended)
    if "text" in typed.columns and mapping.rules.mask_personal:
        masked, counts = mask(typed["text"])
        changes.update(counts)
        typed = typed.with_columns(masked)
    return typed, changes


def _returns(typed: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Make what was given back a purchase with a price below zero, however the shop writes it."""
    kind, quantity = pl.col("kind"), pl.col("quantity")
    back = (kind == RETURN) | ((kind == "purchase") & (quantity < 0).fill_null(value=False))
    found = typed.select(back.sum()).item()
    if not found:
        return typed, 0
    mended = {
        "kind": pl.when(back).then(pl.lit("purchase")).otherwise(kind),
        "quantity": pl.when(back).then(quantity.abs()).otherwise(quantity),
        "price": pl.when(back).then(-pl.col("price").abs()).otherwise(pl.col("price")),
    }
    return typed.with_columns(**mended), found


def _one_currency(typed: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Bring prices to the mapping's currency."""
    upper = pl.col("currency").str.to_uppercase()
    found = typed.select(upper.drop_nulls().unique().sort()).to_series().to_list()
    if mapping.currency is None:
        if len(found) > 1:
            raise DataError(
                f"Prices are in {', '.join(found[:5])}. Say in the mapping file what they are kept in: "
                f'currency = "{found[0]}", and under [rates] what one of each other is worth in it: {found[1]} = 1.0'
            )
        return typed
    rates = {mapping.currency.upper(): 1.0, **{name.upper(): rate for name, rate in mapping.rates.items()}}
    rate = upper.fill_null(mapping.currency.upper()).replace_strict(rates, default=None, return_dtype=pl.Float64)
    return typed.with_columns(price=pl.col("price") * rate)


def _checks(cells: pl.DataFrame, table: str, mapping: Mapping) -> Iterator[_Check]:
    """Yield what makes a row unusable, its name, and the field: the first that holds is told."""
    given = {
        name: pl.col(f"raw_{name}").is_not_null() for name in cells.columns if cells[name].null_count() < cells.height
    }
    for name in _NEEDED[table]:
        yield pl.col(name).is_null(), f"missing_{name}", name
    if table == "events":
        yield ~pl.col("kind").is_in(KINDS) | pl.col("kind").is_null(), "unknown_kind", "kind"
    for name in _TIMES[table]:
        here = pl.lit(value=True) if table == "events" else pl.col(f"raw_{name}").is_not_null()
        latest = datetime.now(UTC) + timedelta(days=1 if name == "at" else 36_500)
        impossible = (pl.col(name) < EARLIEST) | (pl.col(name) > latest)
        yield here & (pl.col(name).is_null() | impossible), "bad_time", name
    if table == "labels":
        nothing = pl.col("observed_from") >= pl.col("as_of")  # no event can lie between them
        yield nothing.fill_null(value=False), "bad_time", "observed_from"
    if table == "events" and "status" in given:
        cancelled = [status.lower() for status in mapping.rules.cancelled]
        yield pl.col("status").str.to_lowercase().is_in(cancelled).fill_null(value=False), "cancelled", "status"
    if table == "events" and "currency" in given and mapping.currency is not None:
        known = [mapping.currency.upper(), *(name.upper() for name in mapping.rates)]
        yield (given["currency"] & ~pl.col("currency").str.to_uppercase().is_in(known)), "unknown_currency", "currency"
    for name in _NUMBERS[table]:
        if name not in given:
            continue
        unusable = pl.col(name).is_null() | ~pl.col(name).is_finite()
        if name in {"quantity", "duration"}:  # of the others a refund and a discount can be below zero
            unusable = unusable | (pl.col(name) < 0)
        yield given[name] & unusable, "bad_number", name
        largest = 5.0 if name == "rating" and mapping.units.rating is not None else _LARGEST[name]
        impossible = pl.col(name).abs() > largest
        if name == "rating":
            impossible = impossible | (pl.col(name) < 0)
        yield impossible.fill_null(value=False), "impossible_value", name


def _problems(rows: pl.DataFrame, checks: list[_Check]) -> pl.DataFrame:
    """Return the first problem of each row, and the cell as it came."""
    told = []
    for (number,), some in rows.group_by(["problem"], maintain_order=True):
        _, reason, column = checks[number]
        value = pl.col(f"raw_{column}").cast(pl.String, strict=False)
        told.append(some.select("line", reason=pl.lit(reason), column=pl.lit(column), value=value))
    return pl.concat(told).sort("line")
