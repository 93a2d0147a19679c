"""Paths into JSON: ``properties.product_id`` is a value inside the objects of the column ``properties``.

The parts of a path are keys, or places in a list from 0 (``items.0.sku``). A column or key that has dots in its name
comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import polars as pl

from segadmin.contracts.source import OTHER
from segadmin.events.exact_json import cell_of, decode


def with_paths(chunk: pl.DataFrame, wanted: Iterable[str]) -> pl.DataFrame:
    """Return ``chunk`` with a column (String) for every wanted path that leads into one of its columns."""
    paths: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for path in dict.fromkeys(wanted):
        column = base_of(path, chunk.columns)
        if column is not None and column != path:
            paths[column].append((path, path[len(column) + 1 :].split(".")))
    for column, inside in paths.items():
        if chunk[column].dtype == pl.String:
            documents = [_document(cell) for cell in chunk[column].to_list()]
            cells = {path: [cell_of(_at(one, parts)) for one in documents] for path, parts in inside}
        else:
            cells = {path: [None] * chunk.height for path, _ in inside}
        chunk = chunk.with_columns(pl.Series(path, found, dtype=pl.String) for path, found in cells.items())
    return chunk


def unfold(chunk: pl.DataFrame, wanted: Iterable[str]) -> pl.DataFrame:
    """Return ``chunk`` with the columns that the wanted paths begin with, where they are among its :data:`OTHER` cells.

    Where no row has such a cell the path becomes a column of nulls: another chunk of the file may have one.
    """
    lacking = [path for path in dict.fromkeys(wanted) if base_of(path, chunk.columns) is None]
    if not lacking or OTHER not in chunk.columns:
        return chunk
    rows = [_document(cell) or {} for cell in chunk[OTHER].to_list()]
    names = dict.fromkeys(name for row in rows for name in row)
    found = dict.fromkeys(base_of(path, names) or path for path in lacking)
    return chunk.with_columns(pl.Series(name, [row.get(name) for row in rows], pl.String) for name in found)


def base_of(path: str, columns: Collection[str]) -> str | None:
    """Return the column that a path begins with: itself, else the one with the longest name, else ``None``."""
    if path in columns:
        return path
    parts = path.split(".")
    heads = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((head for head in heads if head in columns), None)


def keys_of(cells: Iterable[str | None]) -> list[str]:
    """Return the paths to the values in some objects, in order of appearance; of a list, those of its first one."""
    paths: dict[str, None] = {}
    for cell in cells:
        paths |= dict.fromkeys(_paths(_document(cell)))
    return list(paths)


def _paths(value: Any) -> list[str]:
    if isinstance(value, dict):
        inside = [(str(key), below) for key, below in value.items()]
    elif isinstance(value, list):
        inside = [("0", value[0])] if value else []
    else:
        return []
    found = []
    for key, below in inside:
        deeper = _paths(below)
        found += [f"{key}.{path}" for path in deeper] if deeper else [key]
    return found


def _document(cell: str | None) -> Any:
    if cell is None or not cell.lstrip().startswith(("{", "[")):
        return None
    try:
        return decode(cell)
    except (ValueError, RecursionError):
        return None


def _at(document: Any, parts: Sequence[str]) -> Any:
    """Return what is at a path; of keys with dots the longest that fits."""
    if not parts or document is None:
        return document
    if isinstance(document, list):
        place = int(parts[0]) if parts[0].isdecimal() else len(document)
        return _at(document[place], parts[1:]) if place < len(document) else None
    if not isinstance(document, dict):
        return None
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in document:
            return _at(document[key], parts[length:])
    return None
