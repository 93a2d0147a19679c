"""The first rows of a file, whatever mapping it needs, with or without a header."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import polars as pl

from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW, Source
from segadmin.errors import DataError
from segadmin.events.cells import readable
from segadmin.events.header import looks_like_data
from segadmin.events.ingest import Request, source_of
from segadmin.settings import Settings

#: What Polars and the source of CSV add to a name that a header has twice.
_SECOND = re.compile(r"_duplicated_\d+$")


@dataclass(frozen=True)
class Sample:
    """The first rows of a file that can be read at all."""

    rows: pl.DataFrame
    headerless: bool  #: the columns' names are ours: ``column_1``, …
    unreadable: dict[str, int]  #: reason → rows that cannot be read


def sample_of(settings: Settings, request: Request, rows: int) -> Sample:
    """Return the first rows of what ``request`` names.

    Raises:
        ConfigurationError: the source's options cannot be used.
        DataError: it cannot be read, or has no rows.
    """
    source = source_of(settings, request)
    is_csv = source.name == "csv" and "header" not in request.options
    if is_csv:  # a first row that is no header is to be looked at as well, not refused
        source = source_of(settings, replace(request, options={"header": "first", **request.options}))
    found, unreadable = _readable_rows(readable(first_rows(source, request, rows)))
    headerless = is_csv and looks_like_data(_SECOND.sub("", name) for name in found.columns)
    return Sample(_with_first_row(found) if headerless else found, headerless, unreadable)


def first_rows(source: Source, request: Request, rows: int) -> pl.DataFrame:
    """Return the first rows that ``source`` reads, as they are.

    Raises:
        DataError: it cannot be read, has no rows, or gives its rows once only.
    """
    if source.consumes:
        raise DataError("A queue gives its events once, so there is no looking at them first. Preview a file of it.")
    source.identity(request.place)  # says what is wrong with the place
    first = next(source.chunks(request.place, rows), None)
    if first is None or first.is_empty():
        raise DataError(f"{request.place} has no rows.")
    return first.head(rows)


def _readable_rows(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    rows = rows.drop(LINE, strict=False)
    if UNREADABLE not in rows.columns:
        return rows, {}
    counts = rows.group_by(UNREADABLE).len().drop_nulls()
    good = rows.filter(pl.col(UNREADABLE).is_null()).drop(UNREADABLE, UNREADABLE_ROW)
    return good, dict(counts.iter_rows())


def _with_first_row(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows whose names are a row too, under names of our own."""
    names = [f"column_{number}" for number in range(1, rows.width + 1)]
    first = pl.DataFrame([[_SECOND.sub("", name) or None for name in rows.columns]], schema=names, orient="row")
    rest = rows.rename(dict(zip(rows.columns, names, strict=True))).cast(pl.String)
    return pl.concat([first.cast(pl.String), rest])
