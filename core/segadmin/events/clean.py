"""Cleaning: conversion of a source's cells to a table's values, and detection of unusable rows.

Every rule has a name. Rows that a rule rejects go to quarantine with that name as the reason; values that a rule fixes
are counted under its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from segadmin.contracts.event_kinds import IGNORE
from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW
from segadmin.errors import DataError
from segadmin.events.cells import all_without_missing, lines_of, repeated, whole_numbers, without_missing
from segadmin.events.elements import each_element
from segadmin.events.identifiers import clean_ids, plain_id
from segadmin.events.mapping import Mapping
from segadmin.events.nested import base_of, keys_of, unfold, with_paths
from segadmin.events.normalize import MONEY, as_events, undecided_statuses
from segadmin.events.number_columns import NumberColumns
from segadmin.events.pii import mask
from segadmin.events.row_checks import NUMBERS, PROBLEM, TIMES, Check, divide, row_checks
from segadmin.events.text_cleaning import tidy
from segadmin.events.times import as_utc
from segadmin.events.vectors import with_vectors

#: Fields with ids, and fields with codes that other tools may have converted to numbers.
_IDS = {"events": ("user", "item", "event_id"), "items": ("item",), "labels": ("user", "segment")}
_CODES = ("kind",)
#: Fields with text that people wrote, which is cleaned of markup.
_TEXTS = ("text", "title", "category", "brand")


@dataclass(frozen=True)
class Cleaned:
    """A chunk, divided into usable and unusable rows."""

    good: pl.DataFrame  #: the table's fields with their types, and ``line``
    bad: pl.DataFrame  #: columns of :data:`PROBLEM`: the first problem of each row
    changes: Counter[str]  #: rule → values that it fixed
    numbers: dict[str, Any] = field(default_factory=dict)  #: how the numbers were read, as JSON; see ``NumberColumns``
    ignored: int = 0  #: events of kinds that the mapping leaves out
    statuses: Counter[str] = field(default_factory=Counter)  #: kept statuses without a clear meaning

    @property
    def read(self) -> int:
        """Number of events; more than rows if a row holds several."""
        return self.good.height + self.bad.height + self.ignored


def clean(
    chunk: pl.DataFrame,
    table: str,
    mapping: Mapping,
    first_line: int = 1,
    numbers: NumberColumns | None = None,
) -> Cleaned:
    """Return a chunk's usable rows with the table's fields, and its unusable rows.

    Args:
        chunk: the source's rows; see :func:`segadmin.events.cells.readable`.
        table: events, items or labels.
        mapping: assigns columns to fields, with units.
        first_line: line number of the first row; lines are consecutive.
        numbers: state of the import's number columns; default: ``chunk`` is the complete import.

    Raises:
        ConfigurationError: the mapping names a field that does not exist.
        DataError: a required field has no column; prices are in several currencies and the mapping has no rates; the
            number format is ambiguous; or an id is mapped to JSON objects.
    """
    numbers, is_all = (NumberColumns(mapping), True) if numbers is None else (numbers, False)
    lines = pl.int_range(first_line, first_line + chunk.height, eager=True).alias("line")
    rows = lines_of(chunk, lines)
    chunk, lines, unreadable = _unreadable(chunk.drop(LINE, strict=False), lines)
    chunk = unfold(chunk, (*mapping.named_columns, *([mapping.each] if mapping.each else [])))
    if mapping.each is not None:
        chunk, lines = _each_element(chunk, lines, mapping.each)
    chunk = with_paths(chunk, mapping.named_columns)
    cells, changes = _cells(chunk, table, mapping)
    ignored = _ignored(cells, table, mapping)
    number_ignored = 0 if ignored is None else int(ignored.sum())
    if ignored is not None and number_ignored:
        chunk, cells, lines = chunk.filter(~ignored), cells.filter(~ignored), lines.filter(~ignored)
    row_lines = rows[(lines - first_line).cast(pl.UInt32)] if len(rows) != len(lines) or mapping.each else rows
    typed, formatted = _amounts(_typed(cells, table, mapping), table, mapping, numbers, row_lines)
    changes["number_format"] += formatted
    if is_all:
        numbers.refuse_open()
        numbers.refuse_mixed()
    typed, problems, counts = _plain_ids(typed, cells, table, mapping.constants)
    changes.update(counts)
    if numbers.whole:
        _refuse_objects(cells, problems, mapping)
    typed, counts = _clean_texts(typed, mapping)
    changes.update(counts)
    if table == "events":
        typed, of_events, changes["return"] = as_events(typed, cells, chunk, mapping, numbers)
        problems += of_events
    checks = [*problems, *row_checks(cells, table, mapping)]
    if table != "labels":
        typed = typed.hstack([_extras(chunk, mapping)])
    typed, cells, vector_checks = with_vectors(chunk, typed, cells, mapping)
    good, bad = divide(typed, cells, lines, [*checks, *vector_checks])
    statuses = Counter(undecided_statuses(good, mapping)) if table == "events" else Counter()
    bad = pl.concat([unreadable, bad]).sort("line") if unreadable.height else bad
    return Cleaned(good, bad, +changes, numbers.close_chunk(), number_ignored, statuses)


def complete(chunk: pl.DataFrame, table: str, mapping: Mapping) -> pl.DataFrame:
    """Return ``chunk`` with missing required columns added as nulls, so that a bad row does not block a queue."""
    chunk = unfold(chunk, mapping.columns_of(table))
    missing = sorted(name for name in mapping.columns_of(table) if base_of(name, chunk.columns) is None)
    empty = pl.Series([None], dtype=pl.String).new_from_index(0, chunk.height)
    return chunk.with_columns(empty.alias(name) for name in missing)


def _unreadable(chunk: pl.DataFrame, lines: pl.Series) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Separate the rows that the source could not read: return the other rows, their lines, and the problems."""
    if UNREADABLE not in chunk.columns:
        return chunk, lines, pl.DataFrame(schema=PROBLEM)
    bad = chunk[UNREADABLE].is_not_null()
    chunk = chunk.with_columns(lines.alias(LINE))  # the shop may have a column "line"
    problems = chunk.filter(bad).select(
        line=LINE, reason=UNREADABLE, column=pl.lit(None, pl.String), value=pl.lit(None, pl.String)
    )
    readable = chunk.filter(~bad)
    if readable.is_empty() and set(chunk.columns) == {UNREADABLE, UNREADABLE_ROW, LINE}:
        raise DataError(f"No row can be read: the first one is {problems['reason'][0]}. Is it the right --source?")
    return readable.drop(UNREADABLE, UNREADABLE_ROW, LINE), readable[LINE].alias("line"), problems


def _ignored(cells: pl.DataFrame, table: str, mapping: Mapping) -> pl.Series | None:
    """Return which rows have a kind that the mapping ignores; ``None`` if it ignores none."""
    words = [plain_id(word).lower() for word, kind in mapping.kinds.items() if kind == IGNORE]
    if table != "events" or not words:
        return None
    kinds = cells.select(_as_text(pl.col("kind"), cells.schema["kind"])).to_series()
    return clean_ids(kinds).cells.str.to_lowercase().is_in(words).fill_null(value=False)


def _each_element(chunk: pl.DataFrame, lines: pl.Series, path: str) -> tuple[pl.DataFrame, pl.Series]:
    if base_of(path, chunk.columns) is None:
        raise DataError(f"The file has no column {path!r}, each element of which would be an event.")
    chunk = each_element(chunk.with_columns(lines.alias(LINE)), path)
    return chunk.drop(LINE), chunk[LINE].alias("line")


def _extras(chunk: pl.DataFrame, mapping: Mapping) -> pl.Series:
    """Return the extra columns as JSON objects; null if the mapping has none."""
    if not mapping.extras:
        return pl.Series("extras", [None], dtype=pl.String).new_from_index(0, chunk.height)
    return chunk.select(pl.struct(*mapping.extras).struct.json_encode().alias("extras"))["extras"]


def _cells(chunk: pl.DataFrame, table: str, mapping: Mapping) -> tuple[pl.DataFrame, Counter[str]]:
    """Return the fields with the source's cells, missing ones as null, and how many cells each rule changed."""
    # The row index gives the frame its height if every field is a constant.
    cells = chunk.select(pl.row_index("row"), **mapping.fields(table, chunk.columns)).get_columns()[1:]
    of_source = [column for column in cells if column.name not in mapping.constants]
    plain, changes = all_without_missing(of_source, mapping.nulls)
    by_name = {column.name: column for column in plain}
    columns = []
    for column in cells:
        if column.name in mapping.constants:
            columns.append(repeated(without_missing(column.head(1), mapping.nulls)[0], len(column)))
            continue
        own = by_name[column.name]
        for other in mapping.fallbacks.get(column.name, ()):
            if own.null_count() and other in chunk.columns:
                own = _filled(own, without_missing(chunk[other], mapping.nulls)[0])
        columns.append(own)
    return pl.DataFrame(columns), changes


def _filled(cells: pl.Series, others: pl.Series) -> pl.Series:
    """Return ``cells`` with nulls replaced by ``others``; as text if the types differ."""
    if cells.dtype != others.dtype:
        columns = (cells, others)
        cells, others = (column.to_frame().select(_as_text(pl.all(), column.dtype)).to_series() for column in columns)
    return cells.zip_with(cells.is_not_null(), others)


def _typed(cells: pl.DataFrame, table: str, mapping: Mapping) -> pl.DataFrame:
    """Return every field, except numbers, with its type."""
    columns = []
    for name, dtype in cells.schema.items():
        if name in TIMES[table]:
            columns.append(as_utc(pl.col(name), dtype, mapping.timezone, mapping.times))
        elif name not in NUMBERS[table] and dtype != pl.String:
            columns.append(_as_text(pl.col(name), dtype))
    return cells.with_columns(columns)


def _as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_float():
        return whole_numbers(column)
    text = column.cast(pl.String)
    return text.str.replace(r"\.0+$", "") if dtype.is_decimal() else text


def _amounts(
    typed: pl.DataFrame, table: str, mapping: Mapping, numbers: NumberColumns, lines: pl.Series
) -> tuple[pl.DataFrame, int]:
    """Return the number fields converted to segadmin's units, and how many cells had formatted numbers."""
    no_currency = table == "events" and typed["currency"].null_count() == typed.height
    formatted, columns = 0, []
    for name in NUMBERS[table]:
        values, count = numbers.read(name, typed[name], lines, with_currency=name in MONEY and no_currency)
        formatted += count
        factor = mapping.units.factors.get(name, 1.0)
        columns.append((values if factor == 1.0 else values * factor).alias(name))
    return (typed.with_columns(columns) if columns else typed), formatted


def _plain_ids(
    typed: pl.DataFrame, cells: pl.DataFrame, table: str, constants: Container[str]
) -> tuple[pl.DataFrame, list[Check], Counter[str]]:
    """Return the id fields in their stored form, and the checks for rows with unusable ids."""
    changes: Counter[str] = Counter()
    checks: list[Check] = []
    for name in (*_IDS[table], *_CODES):
        if name not in typed.columns or cells[name].dtype.is_integer() or (name in _CODES and name in constants):
            continue
        before = typed[name]
        ids = clean_ids(before, cells[name] if cells[name].dtype.is_float() else None)
        typed = _with(typed, ids.cells, before)
        changes.update(ids.changes)
        if name in _IDS[table]:
            checks += [(pl.lit(rows), reason, name) for reason, rows in ids.problems.items()]
    return typed, checks, changes


def _with(typed: pl.DataFrame, cells: pl.Series, before: pl.Series) -> pl.DataFrame:
    """Return ``typed`` with ``cells`` in place of ``before``, where they are not the same object."""
    return typed if cells is before else typed.with_columns(cells)


def _refuse_objects(cells: pl.DataFrame, checks: list[Check], mapping: Mapping) -> None:
    """Raise ``DataError`` if an id is mapped to a column that contains only objects, an error in the mapping."""
    for rows, reason, name in checks:
        objects = cells.select(name).filter(rows).to_series() if reason == "nested_id" else None
        if objects is None or len(objects) < cells[name].count():
            continue
        column = mapping.columns.get(name, name)
        paths = [f"{column}.{path}" for path in keys_of(objects.head(100))]
        raise DataError(
            f"{name} is read from {column!r}, which holds JSON with several values, such as {objects[0][:80]}. "
            f"Give the path to one of them, as in --map {name}={paths[0] if paths else f'{column}.KEY'}; "
            f"there are: {', '.join(paths[:10])}"
        )


def _clean_texts(typed: pl.DataFrame, mapping: Mapping) -> tuple[pl.DataFrame, Counter[str]]:
    """Clean the text that people wrote, and mask personal data in it."""
    changes: Counter[str] = Counter()
    for name in set(_TEXTS) & set(typed.columns) if mapping.rules.clean_text else ():
        before = typed[name]
        cleaned, counts = tidy(before)
        changes.update(counts)
        typed = _with(typed, cleaned, before)
    if "text" in typed.columns and mapping.rules.mask_personal:
        before = typed["text"]
        masked, counts = mask(before)
        changes.update(counts)
        typed = _with(typed, masked, before)
    return typed, changes
