"""Looking at a source as an import would read it, without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isclose
from typing import Any

import polars as pl
from pydantic import BaseModel

from segadmin.events.advice import one_kind, repeated_ids, segment_names, unknown_kinds, unknown_statuses
from segadmin.events.cells import lines_of, raw_rows, readable
from segadmin.events.clean import Cleaned, clean
from segadmin.events.elements import each_element
from segadmin.events.fill_down import fill_of
from segadmin.events.hints import (
    about_ids,
    about_numbers,
    about_reasons,
    about_times,
    about_unit_price,
)
from segadmin.events.ingest import Request, source_of
from segadmin.events.mapping import Mapping
from segadmin.events.nested import base_of, keys_of, with_paths
from segadmin.events.number_columns import NumberColumns
from segadmin.events.sample import first_rows
from segadmin.settings import Settings

_EXAMPLES = 4
_IDS = ("user", "item", "event_id")


class Field(BaseModel):
    """A field of the table, and what it would be filled with."""

    field: str
    column: str  #: where it comes from
    filled: float  #: share of the usable rows that have it
    examples: list[str]


class Problem(BaseModel):
    """A row that would go to quarantine."""

    line: int
    reason: str
    column: str | None
    value: str | None
    row: str


class Spend(BaseModel):
    """What the rows are worth: the sum of all prices, each of a whole line, as every model and rule will see it."""

    total: float
    rows: int  #: that have a price
    examples: list[str]  #: how the first ones come about


class Preview(BaseModel):
    """What an import would make of the first rows. Duplicates and bots are told only by the import."""

    source_rows: int  #: as the source has them
    rows: int  #: events, items or labels
    usable: int
    fields: list[Field]
    reasons: dict[str, int]
    changes: dict[str, int]
    problems: list[Problem]
    spend: Spend | None = None  #: of events with prices
    ignored: int = 0  #: events of kinds that the mapping leaves out
    warnings: list[str] = []  #: what looks wrong, or is read in a way that may not be meant


def preview(settings: Settings, request: Request, rows: int) -> Preview:
    """Return what an import of ``request`` would make of the first ``rows`` rows.

    Raises:
        ConfigurationError: the mapping or the source's options cannot be used.
        DataError: the source cannot be read, or a needed field is in no column.
    """
    source = source_of(settings, request)
    raw = readable(fill_of(request.mapping)(first_rows(source, request, rows)))
    numbers = NumberColumns(request.mapping, typed=source.typed)
    cleaned = clean(raw, request.table, request.mapping, source.first_line, numbers)
    bad_rows = raw[(cleaned.bad["line"] - source.first_line).cast(pl.UInt32)]
    bad = cleaned.bad.with_columns(lines_of(bad_rows, cleaned.bad["line"]), row=raw_rows(bad_rows))
    return Preview(
        source_rows=raw.height,
        rows=cleaned.read,
        usable=cleaned.good.height,
        fields=_fields(request, raw, cleaned),
        reasons=dict(Counter(cleaned.bad["reason"]).most_common()),
        changes=dict(cleaned.changes),
        problems=[Problem(**problem) for problem in bad.to_dicts()],
        spend=_spend(cleaned.good) if request.table == "events" else None,
        ignored=cleaned.ignored,
        warnings=list(_warnings(request, raw, cleaned, numbers)),
    )


def _warnings(request: Request, raw: pl.DataFrame, cleaned: Cleaned, numbers: NumberColumns) -> Iterator[str]:
    mapping, good, bad = request.mapping, cleaned.good, cleaned.bad
    yield from about_numbers(numbers)
    if request.table == "events":
        yield from about_unit_price(mapping, raw.columns)
        yield from _about_words(mapping, cleaned)
    if request.table == "labels":
        yield from segment_names(good["segment"].unique(maintain_order=True).to_list())
    yield from about_ids(good.select(name for name in _IDS if name in good.columns and name not in mapping.constants))
    times = bad.filter(pl.col("reason") == "bad_time")["value"].drop_nulls()
    if len(times) * 2 > raw.height:
        yield about_times(times.to_list())
    yield from about_reasons(dict(Counter(bad["reason"])))
    yield from _about_paths(raw, mapping)


def _about_words(mapping: Mapping, cleaned: Cleaned) -> Iterator[str]:
    """Yield what to add to the mapping for words that it does not know, and what makes an event_id no id."""
    yield from unknown_kinds(Counter(cleaned.bad.filter(pl.col("reason") == "unknown_kind")["value"]))
    yield from unknown_statuses(cleaned.statuses)
    own = cleaned.good.filter(pl.col("event_id").is_not_null())
    facts = pl.struct("item", "kind", "at")
    different = own.filter(facts != facts.first().over("user", "event_id")).height
    if "kind" not in mapping.constants:
        yield from one_kind(cleaned.good["kind"].unique().to_list(), cleaned.good.height)
    yield from repeated_ids(different, own.height, mapping.columns.get("event_id", "event_id"))


def _about_paths(raw: pl.DataFrame, mapping: Mapping) -> Iterator[str]:
    """Yield a warning for each path at which no row has a value."""
    rows = raw if mapping.each is None else each_element(raw, mapping.each)
    inside = with_paths(rows, mapping.named_columns)
    alone = {column: name for name, column in mapping.columns.items() if name not in mapping.fallbacks}
    for path in (*alone, *mapping.extras):
        column = base_of(path, rows.columns)
        if column not in {None, path} and inside[path].null_count() == inside.height:
            keys = ", ".join(f"{column}.{key}" for key in keys_of(rows[column].head(100))[:20])
            yield f"No row has a value at {path!r}. " + (f"There are: {keys}." if keys else f"{column} is no JSON.")


def _spend(good: pl.DataFrame) -> Spend | None:
    priced = good.drop_nulls("price")
    if priced.is_empty():
        return None
    examples = [_worked_out(row) for row in priced.head(_EXAMPLES).iter_rows(named=True)]
    return Spend(total=priced["price"].sum(), rows=priced.height, examples=examples)


def _worked_out(row: dict[str, Any]) -> str:
    """Return a price, and how it comes about where it is that of several pieces."""
    piece, quantity = row["unit_price"], 1.0 if row["quantity"] is None else row["quantity"]
    is_computed = piece is not None and isclose(abs(piece * quantity), abs(row["price"]))
    return f"{quantity:,g} x {piece:,g} = {row['price']:,.2f}" if is_computed else f"{row['price']:,.2f}"


def _fields(request: Request, raw: pl.DataFrame, cleaned: Cleaned) -> list[Field]:
    mapping, good = request.mapping, cleaned.good
    columns = with_paths(raw.head(1), mapping.named_columns).columns
    fields = []
    for name in good.columns:
        column = mapping.columns.get(name, name)
        if name in mapping.constants:
            column = f"always {mapping.constants[name]!r}"
        elif name == "extras" and mapping.extras:
            column = ", ".join(mapping.extras)
        elif name == "price" and column not in columns and good["price"].count():
            column = "unit_price x quantity"
        elif column not in columns and name not in mapping.fallbacks:
            continue
        column = " or ".join([column, *mapping.fallbacks.get(name, ())])
        cells = good[name].drop_nulls()
        examples = cells.unique(maintain_order=True).head(_EXAMPLES).cast(pl.String).to_list()
        filled = len(cells) / good.height if good.height else 0.0
        fields.append(Field(field=name, column=column, filled=filled, examples=examples))
    return fields
