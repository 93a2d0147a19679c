"""Paths into JSON: ``properties.product_id`` is a value inside the objects of the column ``properties``.

The parts of a path are keys, or list indices from 0 (``items.0.sku``). A column or key with dots in its name takes
precedence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import polars as pl

from segadmin.contracts.source import OTHER
from segadmin.events.exact_json import cell_of, decode


def with_paths(chunk: pl.DataFrame, paths: Iterable[str]) -> pl.DataFrame:
    """Return ``chunk`` with a column (String) for every path that leads into one of its columns."""
    paths_by_column: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        column = base_of(path, chunk.columns)
        if column is not None and column != path:
            paths_by_column[column].append((path, path[len(column) + 1 :].split(".")))
    for column, column_paths in paths_by_column.items():
        if chunk[column].dtype == pl.String:
            documents = [_document(cell) for cell in chunk[column].to_list()]
            cells = {path: [cell_of(_at(document, parts)) for document in documents] for path, parts in column_paths}
        else:
            cells = {path: [None] * chunk.height for path, _ in column_paths}
        chunk = chunk.with_columns(pl.Series(path, values, dtype=pl.String) for path, values in cells.items())
    return chunk


def unfold(chunk: pl.DataFrame, paths: Iterable[str]) -> pl.DataFrame:
    """Return ``chunk`` with the columns at the start of ``paths`` that are in its :data:`OTHER` cells.

    If no row has such a cell, the path becomes a column of nulls, because another chunk of the file may have one.
    """
    missing = [path for path in dict.fromkeys(paths) if base_of(path, chunk.columns) is None]
    if not missing or OTHER not in chunk.columns:
        return chunk
    rows = [_document(cell) or {} for cell in chunk[OTHER].to_list()]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = dict.fromkeys(base_of(path, names) or path for path in missing)
    return chunk.with_columns(pl.Series(name, [row.get(name) for row in rows], pl.String) for name in columns)


def base_of(path: str, columns: Collection[str]) -> str | None:
    """Return the column at the start of a path: the path itself, else the longest matching one, else ``None``."""
    if path in columns:
        return path
    parts = path.split(".")
    heads = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((head for head in heads if head in columns), None)


def keys_of(cells: Iterable[str | None]) -> list[str]:
    """Return the paths to values in JSON cells, in order of appearance; of a list, only its first element is used."""
    paths: dict[str, None] = {}
    for cell in cells:
        paths |= dict.fromkeys(_paths(_document(cell)))
    return list(paths)


def _paths(value: Any) -> list[str]:
    if isinstance(value, dict):
        children = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list):
        children = [("0", value[0])] if value else []
    else:
        return []
    paths = []
    for key, child in children:
        subpaths = _paths(child)
        paths += [f"{key}.{path}" for path in subpaths] if subpaths else [key]
    return paths


def _document(cell: str | None) -> Any:
    if cell is None or not cell.lstrip().startswith(("{", "[")):
        return None
    try:
        return decode(cell)
    except (ValueError, RecursionError):
        return None


def _at(document: Any, parts: Sequence[str]) -> Any:
    """Return the value at a path; of keys with dots, the longest match is used."""
    if not parts or document is None:
        return document
    if isinstance(document, list):
        index = int(parts[0]) if parts[0].isdecimal() else len(document)
        return _at(document[index], parts[1:]) if index < len(document) else None
    if not isinstance(document, dict):
        return None
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in document:
            return _at(document[key], parts[length:])
    return None
