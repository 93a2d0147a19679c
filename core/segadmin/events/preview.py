"""Preview of an import, without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isclose
from typing import Any

import polars as pl
import polars.selectors as cs
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
from segadmin.events.import_request import ImportRequest, source_of
from segadmin.events.mapping import Mapping
from segadmin.events.nested import base_of, keys_of, with_paths
from segadmin.events.number_columns import NumberColumns
from segadmin.events.sample import first_rows
from segadmin.events.vectors import VECTOR, check_vectors
from segadmin.settings import Settings

_EXAMPLES = 4
#: Rows that are shown as an import would store them.
_FIRST_ROWS = 10
_IDS = ("user", "item", "event_id")


class Field(BaseModel):
    """A field of the table, with the values that an import would store."""

    field: str
    column: str  #: its source
    filled: float  #: fraction of the usable rows with a value
    examples: list[str]


class Problem(BaseModel):
    """A row that would go to quarantine."""

    line: int
    reason: str
    column: str | None
    value: str | None
    row: str


class Spend(BaseModel):
    """The total spend: the sum of all prices, each the total of a line, as used by models and rules."""

    total: float
    rows: int  #: with a price
    examples: list[str]  #: calculation of the first prices


class Preview(BaseModel):
    """The result of importing the first rows. Duplicates and bots are only detected by the import itself."""

    source_rows: int  #: rows of the source
    rows: int  #: events, items or labels
    usable: int
    fields: list[Field]
    reasons: dict[str, int]
    changes: dict[str, int]
    problems: list[Problem]
    first_rows: list[dict[str, str | None]] = []  #: field → value of the first usable rows
    spend: Spend | None = None  #: only for events with prices
    ignored: int = 0  #: events of kinds that the mapping ignores
    warnings: list[str] = []  #: about rows that are probably misread


def preview(settings: Settings, request: ImportRequest, rows: int) -> Preview:
    """Return the result of importing the first ``rows`` rows of ``request``.

    Raises:
        ConfigurationError: the mapping or the source's options cannot be used.
        DataError: the source cannot be read, or a required field has no column.
    """
    source = source_of(settings, request)
    request = request.with_vectors_of(source)
    check_vectors(request.table, request.mapping.vectors)
    raw = readable(fill_of(request.mapping)(first_rows(source, request, rows)), lists=request.mapping.vectors.values())
    numbers = NumberColumns(request.mapping, typed=source.typed)
    cleaned = clean(raw, request.table, request.mapping, source.first_line, numbers)
    bad_rows = raw[(cleaned.bad["line"] - source.first_line).cast(pl.UInt32)]
    bad = cleaned.bad.with_columns(lines_of(bad_rows, cleaned.bad["line"]), row=raw_rows(bad_rows))
    fields = _fields(request, raw, cleaned)
    return Preview(
        source_rows=raw.height,
        rows=cleaned.read,
        usable=cleaned.good.height,
        fields=fields,
        first_rows=_first_rows(cleaned.good, [field.field for field in fields]),
        reasons=dict(Counter(cleaned.bad["reason"]).most_common()),
        changes=dict(cleaned.changes),
        problems=[Problem(**problem) for problem in bad.to_dicts()],
        spend=_spend(cleaned.good) if request.table == "events" else None,
        ignored=cleaned.ignored,
        warnings=list(_warnings(request, raw, cleaned, numbers)),
    )


def _first_rows(good: pl.DataFrame, fields: list[str]) -> list[dict[str, str | None]]:
    first = good.head(_FIRST_ROWS).select(pl.col(name) for name in fields if not good.schema[name].is_nested())
    times = cs.temporal().dt.strftime("%Y-%m-%d %H:%M:%S UTC")
    return first.with_columns(times).select(pl.all().cast(pl.String)).to_dicts()


def _warnings(request: ImportRequest, raw: pl.DataFrame, cleaned: Cleaned, numbers: NumberColumns) -> Iterator[str]:
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
    """Yield warnings about unknown kinds and statuses, and about an ``event_id`` that is not unique."""
    yield from unknown_kinds(Counter(cleaned.bad.filter(pl.col("reason") == "unknown_kind")["value"]))
    yield from unknown_statuses(cleaned.statuses)
    with_id = cleaned.good.filter(pl.col("event_id").is_not_null())
    facts = pl.struct("item", "kind", "at")
    different = with_id.filter(facts != facts.first().over("user", "event_id")).height
    if "kind" not in mapping.constants:
        yield from one_kind(cleaned.good["kind"].unique().to_list(), cleaned.good.height)
    yield from repeated_ids(different, with_id.height, mapping.columns.get("event_id", "event_id"))


def _about_paths(raw: pl.DataFrame, mapping: Mapping) -> Iterator[str]:
    """Yield a warning for each path at which no row has a value."""
    rows = raw if mapping.each is None else each_element(raw, mapping.each)
    with_values = with_paths(rows, mapping.named_columns)
    sole_columns = {column: name for name, column in mapping.columns.items() if name not in mapping.fallbacks}
    for path in (*sole_columns, *mapping.extras):
        column = base_of(path, rows.columns)
        if column not in {None, path} and with_values[path].null_count() == with_values.height:
            keys = ", ".join(f"{column}.{key}" for key in keys_of(rows[column].head(100))[:20])
            yield f"No row has a value at {path!r}. " + (f"There are: {keys}." if keys else f"{column} is not JSON.")


def _spend(good: pl.DataFrame) -> Spend | None:
    priced = good.drop_nulls("price")
    if priced.is_empty():
        return None
    examples = [_calculation(row) for row in priced.head(_EXAMPLES).iter_rows(named=True)]
    return Spend(total=priced["price"].sum(), rows=priced.height, examples=examples)


def _calculation(row: dict[str, Any]) -> str:
    """Return a price; with its calculation if it was computed from a unit price."""
    unit_price, quantity = row["unit_price"], 1.0 if row["quantity"] is None else row["quantity"]
    is_computed = unit_price is not None and isclose(abs(unit_price * quantity), abs(row["price"]))
    return f"{quantity:,g} x {unit_price:,g} = {row['price']:,.2f}" if is_computed else f"{row['price']:,.2f}"


def _fields(request: ImportRequest, raw: pl.DataFrame, cleaned: Cleaned) -> list[Field]:
    mapping, good = request.mapping, cleaned.good
    columns = with_paths(raw.head(1), mapping.named_columns).columns
    fields = []
    for name in good.columns:
        vector = name.removeprefix(VECTOR) if name.startswith(VECTOR) else None
        column = mapping.columns.get(name, name) if vector is None else mapping.vectors[vector]
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
        examples = (
            cells.unique(maintain_order=True).head(_EXAMPLES).cast(pl.String).to_list()
            if vector is None
            else [f"{length} numbers" for length in cells.list.len().unique(maintain_order=True)]
        )
        filled = len(cells) / good.height if good.height else 0.0
        fields.append(Field(field=name, column=column, filled=filled, examples=examples))
    return fields
