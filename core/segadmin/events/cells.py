"""Making every cell of a file something that text and JSON can hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from segadmin.contracts.source import LINE
from segadmin.events.quarantine import without_notes

#: ``="00123"``, which keeps a spreadsheet from making a number of it.
GUARDED = r'^="([^"]*)"$'


def readable(chunk: pl.DataFrame) -> pl.DataFrame:
    """Return ``chunk`` with lists and structs as JSON text, and bytes as UTF-8 or, where they are none, as hex.

    What an export from quarantine added is taken out.
    """
    chunk = without_notes(chunk)
    return chunk.with_columns(_as_text(column) for column in chunk if _is_opaque(column.dtype))


def without_missing(cells: pl.Series, words: Sequence[str]) -> tuple[pl.Series, Counter[str]]:
    """Return a column with null for every cell that has nothing, and how many cells each rule changed.

    Nothing is blank text, one of ``words``, and what is not a number in a column of decimals. Text loses the spaces
    around it, and the signs that guard it from a spreadsheet: ``="00123"`` is ``00123``.
    """
    changes: Counter[str] = Counter()
    if cells.dtype.is_float():
        return cells.fill_nan(None), changes
    if isinstance(cells.dtype, pl.Categorical | pl.Enum):
        cells = cells.cast(pl.String)
    if cells.dtype != pl.String or cells.null_count() == len(cells):  # most fields are in no column
        return cells, changes
    cells = cells.str.strip_chars()
    if cells.str.starts_with('="').any():
        bare = cells.str.replace(GUARDED, "${1}")
        changes["guarded_cell"] += int((bare != cells).sum())
        cells = bare.str.strip_chars()
    missing = cells.is_in(["", *words])
    if missing.any():
        changes["null_word"] += int((missing & (cells != "")).sum())
        cells = cells.set(missing, None)
    return cells, +changes


def raw_rows(rows: pl.DataFrame) -> pl.Series:
    """Return each row of a readable frame as a JSON object; NaN and infinity, which JSON lacks, as strings."""
    rows = rows.drop(LINE, strict=False)
    strange = [one.name for one in rows if one.dtype.is_float() and not one.is_finite().all()]
    told = rows.with_columns(pl.col(strange).cast(pl.String))
    return told.select(pl.struct(pl.all()).struct.json_encode()).to_series()


def whole_numbers(column: pl.Expr) -> pl.Expr:
    """Return decimals as text, whole ones without ``.0``: a missing id makes other tools write all ids as decimals."""
    whole = (column == column.floor()) & (column.abs() < 2**53)
    text = pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
    return pl.when(column.is_not_nan()).then(text)


def _is_opaque(kind: pl.DataType) -> bool:
    return kind.is_nested() or kind == pl.Binary


def _as_text(column: pl.Series) -> pl.Series:
    # Polars casts neither lists nor bytes that are not UTF-8, and gives up the process for bytes in its JSON.
    cells = [None if cell is None else _told(cell) for cell in column.to_list()]
    return pl.Series(column.name, cells, dtype=pl.String)


def _told(cell: Any) -> str:
    return bytes_as_text(cell) if isinstance(cell, bytes) else json.dumps(cell, ensure_ascii=False, default=_inner)


def _inner(cell: Any) -> str:
    return bytes_as_text(cell) if isinstance(cell, bytes) else str(cell)


def bytes_as_text(cell: bytes) -> str:
    """Return bytes as UTF-8 or, where they are none, as hex."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.hex()


def lines_of(rows: pl.DataFrame, counted: pl.Series) -> pl.Series:
    """Return the line of each row: what the source says, else ``counted``, its number in the file."""
    return rows[LINE].alias("line") if LINE in rows.columns else counted.alias("line")
