"""Looking at a source as an import would read it, without writing anything."""

from __future__ import annotations

from collections import Counter

import polars as pl
from pydantic import BaseModel

from segadmin.errors import DataError
from segadmin.events.cells import lines_of, raw_rows, readable
from segadmin.events.clean import Cleaned, clean
from segadmin.events.ingest import Request, source_of
from segadmin.settings import Settings

_EXAMPLES = 4


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


class Preview(BaseModel):
    """What an import would make of the first rows. Duplicates and bots are told only by the import."""

    rows: int
    usable: int
    fields: list[Field]
    reasons: dict[str, int]
    changes: dict[str, int]
    problems: list[Problem]


def preview(settings: Settings, request: Request, rows: int) -> Preview:
    """Return what an import of ``request`` would make of the first ``rows`` rows.

    Raises:
        ConfigurationError: the mapping or the source's options cannot be used.
        DataError: the source cannot be read, or a needed field is in no column.
    """
    source = source_of(settings, request)
    if source.consumes:
        raise DataError("A queue gives its events once, so there is no looking at them first. Preview a file of it.")
    source.identity(request.where)  # says what is wrong with the place
    first = next(source.chunks(request.where, rows), None)
    if first is None or first.is_empty():
        raise DataError(f"{request.where} has no rows.")
    raw = readable(first.head(rows))
    cleaned = clean(raw, request.table, request.mapping, source.first_line)
    bad_rows = raw[(cleaned.bad["line"] - source.first_line).cast(pl.UInt32)]
    bad = cleaned.bad.with_columns(lines_of(bad_rows, cleaned.bad["line"]), row=raw_rows(bad_rows))
    return Preview(
        rows=raw.height,
        usable=cleaned.good.height,
        fields=_fields(request, raw, cleaned),
        reasons=dict(Counter(cleaned.bad["reason"]).most_common()),
        changes=dict(cleaned.changes),
        problems=[Problem(**problem) for problem in bad.to_dicts()],
    )


def _fields(request: Request, raw: pl.DataFrame, cleaned: Cleaned) -> list[Field]:
    mapping, good = request.mapping, cleaned.good
    fields = []
    for name in good.columns:
        column = mapping.columns.get(name, name)
        if name in mapping.constants:
            column = f"always {mapping.constants[name]!r}"
        elif name == "extras" and mapping.extras:
            column = ", ".join(mapping.extras)
        elif column not in raw.columns:
            continue
        cells = good[name].drop_nulls()
        examples = cells.unique(maintain_order=True).head(_EXAMPLES).cast(pl.String).to_list()
        filled = len(cells) / good.height if good.height else 0.0
        fields.append(Field(field=name, column=column, filled=filled, examples=examples))
    return fields
