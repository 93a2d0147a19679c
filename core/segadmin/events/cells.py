"""Making every cell of a file something that text and JSON can hold."""

from __future__ import annotations

import json
from typing import Any

import polars as pl


def readable(chunk: pl.DataFrame) -> pl.DataFrame:
    """Return ``chunk`` with lists and structs as JSON text, and bytes as UTF-8 or, where they are none, as hex."""
    return chunk.with_columns(_as_text(column) for column in chunk if _is_opaque(column.dtype))


def _is_opaque(kind: pl.DataType) -> bool:
    return kind.is_nested() or kind == pl.Binary


def _as_text(column: pl.Series) -> pl.Series:
    # Polars casts neither lists nor bytes that are not UTF-8, and gives up the process for bytes in its JSON.
    cells = [None if cell is None else _told(cell) for cell in column.to_list()]
    return pl.Series(column.name, cells, dtype=pl.String)


def _told(cell: Any) -> str:
    return _bytes(cell) if isinstance(cell, bytes) else json.dumps(cell, ensure_ascii=False, default=_inner)


def _inner(cell: Any) -> str:
    return _bytes(cell) if isinstance(cell, bytes) else str(cell)


def _bytes(cell: bytes) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.hex()
