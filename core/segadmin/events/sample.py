"""The first rows of a file with any columns, with or without a header."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import polars as pl

from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW, Source
from segadmin.errors import DataError
from segadmin.events.cells import readable
from segadmin.events.header import looks_like_data
from segadmin.events.import_request import ImportRequest, source_of
from segadmin.settings import Settings

#: Suffix that Polars and the CSV source add to duplicate names in a header.
_SECOND = re.compile(r"_duplicated_\d+$")


@dataclass(frozen=True)
class Sample:
    """The readable rows among the first rows of a file."""

    rows: pl.DataFrame
    headerless: bool  #: the columns' names are generated: ``column_1``, …
    unreadable: dict[str, int]  #: reason → unreadable rows


def sample_of(settings: Settings, request: ImportRequest, rows: int) -> Sample:
    """Return the first rows of the file of ``request``.

    Raises:
        ConfigurationError: the source's options cannot be used.
        DataError: it cannot be read, or has no rows.
    """
    source = source_of(settings, request)
    is_csv = source.name == "csv" and "header" not in request.options
    if is_csv:  # accept a first row that is not a header
        source = source_of(settings, replace(request, options={"header": "first", **request.options}))
    first, unreadable = _readable_rows(readable(first_rows(source, request, rows)))
    headerless = is_csv and looks_like_data(_SECOND.sub("", name) for name in first.columns)
    return Sample(_with_first_row(first) if headerless else first, headerless, unreadable)


def first_rows(source: Source, request: ImportRequest, rows: int) -> pl.DataFrame:
    """Return the first rows that ``source`` reads, unchanged.

    Raises:
        DataError: it cannot be read, has no rows, or returns its rows only once.
    """
    if source.consumes:
        raise DataError("A queue returns its events only once, so it has no preview. Preview a file of its events.")
    source.identity(request.place)  # raises an error if the place is invalid
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
    """Return rows with the column names as the first row, and generated column names."""
    names = [f"column_{number}" for number in range(1, rows.width + 1)]
    first = pl.DataFrame([[_SECOND.sub("", name) or None for name in rows.columns]], schema=names, orient="row")
    rest = rows.rename(dict(zip(rows.columns, names, strict=True))).cast(pl.String)
    return pl.concat([first.cast(pl.String), rest])
