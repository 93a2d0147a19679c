"""Events of shops in one form: known kinds, prices of whole lines in one currency, returns as negative purchases."""

from __future__ import annotations

from functools import lru_cache

import polars as pl

from segadmin.contracts.event_kinds import KIND_ALIASES
from segadmin.errors import DataError
from segadmin.events.cells import repeated
from segadmin.events.elements import ELEMENT, element_ids
from segadmin.events.identifiers import plain_id
from segadmin.events.mapping import RETURN, Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.events.number_formats import currency_symbols, is_currency
from segadmin.events.row_checks import Check
from segadmin.events.statuses import not_bought, undecided

#: Fields with prices.
MONEY = ("price", "unit_price")


def as_events(
    typed: pl.DataFrame, cells: pl.DataFrame, chunk: pl.DataFrame, mapping: Mapping, numbers: NumberColumns
) -> tuple[pl.DataFrame, list[Check], int]:
    """Return events with known kinds and prices of whole lines in one currency, checks, and the number of returns."""
    if mapping.each is not None:
        typed = typed.with_columns(element_ids(typed["event_id"], chunk[ELEMENT]))
    typed = _whole_line(_known_kinds(typed, mapping), cells)
    checks = _not_bought(typed, mapping)
    if mapping.currency is None and numbers.queue:
        checks += _other_currency(typed, cells, numbers)
    else:
        typed = _one_currency(typed, mapping)
    typed, returns = _returns(typed)
    return typed, checks, returns


def undecided_statuses(good: pl.DataFrame, mapping: Mapping) -> dict[str, int]:
    """Return the statuses of usable events that are unknown, or mean a part of an order → number of events."""
    return undecided(good["status"], mapping.rules.cancelled, mapping.statuses)


def _not_bought(typed: pl.DataFrame, mapping: Mapping) -> list[Check]:
    """Return the check for rows with a status that means that nothing was bought."""
    if typed["status"].null_count() == typed.height:
        return []
    is_cancelled = not_bought(pl.col("status"), pl.col("kind") == RETURN, mapping.rules.cancelled, mapping.statuses)
    rows = typed.select(is_cancelled.fill_null(value=False)).to_series()
    return [(pl.lit(rows), "cancelled", "status")] if rows.any() else []


def _known_kinds(typed: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    kinds = typed.select("kind") if "kind" not in mapping.constants else typed.select("kind").head(1)
    converted = kinds.select(_known_kind(tuple(mapping.kinds.items()))).to_series()
    return typed.with_columns(converted if len(converted) == typed.height else repeated(converted, typed.height))


@lru_cache(maxsize=16)
def _known_kind(kinds: tuple[tuple[str, str], ...]) -> pl.Expr:
    """Return the kinds, with aliases and the mapping's own words replaced by what they stand for."""
    words = {plain_id(word).lower(): kind for word, kind in (KIND_ALIASES | dict(kinds)).items()}
    return pl.col("kind").str.to_lowercase().replace(words)


def _whole_line(typed: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Compute the price of the line for rows that only have a unit price."""
    if typed["unit_price"].null_count() == typed.height:
        return typed
    line_price = pl.col("unit_price") * pl.col("quantity").fill_null(1.0)
    has_no_price = pl.lit(cells["price"].is_null())
    return typed.with_columns(price=pl.when(has_no_price).then(line_price).otherwise(pl.col("price")))


def _returns(typed: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Convert returns, in any notation of shops, to purchases with a negative price; also return their number."""
    kind, quantity = pl.col("kind"), pl.col("quantity")
    is_return = (kind == RETURN) | ((kind == "purchase") & (quantity < 0).fill_null(value=False))
    number = typed.select(is_return.sum()).item()
    if not number:
        return typed, 0
    columns = {
        "kind": pl.when(is_return).then(pl.lit("purchase")).otherwise(kind),
        "quantity": pl.when(is_return).then(quantity.abs()).otherwise(quantity),
        "price": pl.when(is_return).then(-pl.col("price").abs()).otherwise(pl.col("price")),
    }
    return typed.with_columns(**columns), number


def _other_currency(typed: pl.DataFrame, cells: pl.DataFrame, numbers: NumberColumns) -> list[Check]:
    """Return the check for live events in another currency than those before: nothing tells what it is worth."""
    symbols = [currency_symbols(cells[name]) for name in MONEY if cells[name].dtype == pl.String]
    has_price = pl.any_horizontal(pl.col(*MONEY).is_not_null())
    given = pl.when(has_price).then(pl.coalesce(pl.col("currency").str.to_uppercase(), *map(pl.lit, symbols)))
    currencies = typed.select(given.alias("currency")).to_series()
    numbers.note_currency(currencies)
    if numbers.currency is None or currencies.null_count() == len(currencies):
        return []
    is_other = ~is_currency(currencies, numbers.currency).fill_null(value=True)
    return [(pl.lit(is_other), "unknown_currency", "currency")]


def _one_currency(typed: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Convert prices to the mapping's currency."""
    if mapping.currency is None and typed["currency"].null_count() == typed.height:
        return typed
    upper = pl.col("currency").str.to_uppercase()
    currencies = typed.select(upper.drop_nulls().unique().sort()).to_series().to_list()
    if mapping.currency is None:
        if len(currencies) > 1:
            raise DataError(
                f"Prices are in {', '.join(currencies[:5])}. Choose one of them in the mapping file, "
                f'currency = "{currencies[0]}", and give the rates of the others under [rates]: {currencies[1]} = 1.0'
            )
        return typed
    rates = {mapping.currency.upper(): 1.0, **{name.upper(): rate for name, rate in mapping.rates.items()}}
    rate = upper.fill_null(mapping.currency.upper()).replace_strict(rates, default=None, return_dtype=pl.Float64)
    return typed.with_columns(price=pl.col("price") * rate)
