"""Conversion of cells to values that text and JSON can represent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from segadmin.contracts.source import LINE
from segadmin.events.quarantine import without_notes

#: ``="00123"``, a notation that keeps spreadsheets from converting a cell to a number.
GUARDED = r'^="([^"]*)"$'
_STRIPPED, _IS_GUARDED = pl.all().str.strip_chars(), pl.all().str.starts_with('="')


def readable(chunk: pl.DataFrame, lists: Container[str] = ()) -> pl.DataFrame:
    """Return ``chunk`` with lists and structs as JSON text, and bytes as UTF-8 or, if they are not UTF-8, as hex.

    Columns that an export from quarantine added are removed.

    Args:
        chunk: rows of a source.
        lists: columns whose lists are kept.
    """
    chunk = without_notes(chunk)
    return chunk.with_columns(
        _as_text(column) for column in chunk if _is_opaque(column.dtype) and column.name not in lists
    )


def repeated(cell: pl.Series, height: int) -> pl.Series:
    """Return a column of ``height`` copies of a single cell, so that a constant is converted only once."""
    return cell.new_from_index(0, height) if height else cell


def without_missing(cells: pl.Series, words: Sequence[str]) -> tuple[pl.Series, Counter[str]]:
    """Return a column with null for missing values, and how many cells each rule changed.

    Missing values are blank text, any of ``words``, and NaN in a column of decimals. Surrounding spaces and the
    notation that protects text in spreadsheets are removed: ``="00123"`` becomes ``00123``.
    """
    [plain], changes = all_without_missing([cells], words)
    return plain, changes


def all_without_missing(columns: Sequence[pl.Series], words: Sequence[str]) -> tuple[list[pl.Series], Counter[str]]:
    """Return what :func:`without_missing` does, of columns of one length: all are read in one pass."""
    plain, changes = [_plain_type(cells) for cells in columns], Counter[str]()
    # Most fields have no column.
    texts = [n for n, cells in enumerate(plain) if cells.dtype == pl.String and cells.null_count() < len(cells)]
    if not texts:
        return plain, changes
    stripped = pl.DataFrame([plain[n].alias(str(n)) for n in texts]).select(_STRIPPED)
    is_missing = _is_missing(tuple(words))
    occurs = stripped.select(_IS_GUARDED.any().name.prefix("="), is_missing.any()).row(0, named=True)
    for n in texts:
        cells = stripped[str(n)].alias(plain[n].name)
        if occurs[f"={n}"]:
            bare = cells.str.replace(GUARDED, "${1}")
            changes["guarded_cell"] += int((bare != cells).sum())
            cells = bare.str.strip_chars()
        if occurs[f"={n}"] or occurs[str(n)]:
            missing = cells.to_frame().select(is_missing).to_series()
            changes["null_word"] += int((missing & (cells != "")).sum())
            cells = cells.set(missing, None)
        plain[n] = cells
    return plain, +changes


@lru_cache(maxsize=16)
def _is_missing(words: tuple[str, ...]) -> pl.Expr:
    """Return whether each cell is blank or one of ``words``."""
    return pl.all().is_in(["", *words])


def _plain_type(cells: pl.Series) -> pl.Series:
    """Return decimals with null for NaN, and categories as text."""
    if cells.dtype.is_float():
        return cells.fill_nan(None)
    return cells.cast(pl.String) if isinstance(cells.dtype, pl.Categorical | pl.Enum) else cells


def raw_rows(rows: pl.DataFrame) -> pl.Series:
    """Return each row of a readable frame as a JSON object; NaN and infinity, which JSON lacks, as strings."""
    rows = readable(rows.drop(LINE, strict=False))
    not_finite = [column.name for column in rows if column.dtype.is_float() and not column.is_finite().all()]
    rows = rows.with_columns(pl.col(not_finite).cast(pl.String))
    return rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()


def whole_numbers(column: pl.Expr) -> pl.Expr:
    """Return decimals as text, whole ones without ``.0``, which other tools add to ids if one is missing."""
    is_whole = (column == column.floor()) & (column.abs() < 2**53)
    text = pl.when(is_whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
    return pl.when(column.is_not_nan()).then(text)


def _is_opaque(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype == pl.Binary


def _as_text(column: pl.Series) -> pl.Series:
    # Polars casts neither lists nor bytes that are not UTF-8, and its JSON encoder aborts the process on bytes.
    cells = [None if cell is None else _cell_text(cell) for cell in column.to_list()]
    return pl.Series(column.name, cells, dtype=pl.String)


def _cell_text(cell: Any) -> str:
    return bytes_as_text(cell) if isinstance(cell, bytes) else json.dumps(cell, ensure_ascii=False, default=_inner_text)


def _inner_text(value: Any) -> str:
    return bytes_as_text(value) if isinstance(value, bytes) else str(value)


def bytes_as_text(cell: bytes) -> str:
    """Decode bytes as UTF-8, or else as hex."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.hex()


def lines_of(rows: pl.DataFrame, counted: pl.Series) -> pl.Series:
    """Return the line of each row: from the source if it has line numbers, else ``counted``."""
    return rows[LINE].alias("line") if LINE in rows.columns else counted.alias("line")
