"""Rows with several events: one for each element of a list, such as the products of an order."""

from __future__ import annotations

from typing import Any

import polars as pl

from segadmin.contracts.source import OWN
from segadmin.events.exact_json import cell_of, decode
from segadmin.events.nested import with_paths

#: The column with each element's index in its list, from 0; null if there is no list.
ELEMENT = f"{OWN}element"


def each_element(chunk: pl.DataFrame, path: str) -> pl.DataFrame:
    """Return ``chunk`` with a row for every element of the lists at ``path``.

    The column ``path`` then contains the element as JSON, so that paths that start with ``path`` lead into the element.
    A row with no list, or with an empty one, stays one row without an element.
    """
    lists = with_paths(chunk, [path])
    if path not in lists.columns:
        return chunk.with_columns(pl.lit(None, pl.String).alias(path), pl.lit(None, pl.Int64).alias(ELEMENT))
    elements = [_elements(cell) for cell in lists[path].to_list()]
    return chunk.with_columns(
        pl.Series(path, elements, dtype=pl.List(pl.String)),
        pl.Series(ELEMENT, [list(range(len(items))) if items else None for items in elements], dtype=pl.List(pl.Int64)),
    ).explode(path, ELEMENT)


def element_ids(ids: pl.Series, positions: pl.Series) -> pl.Series:
    """Return ids of elements: the row's id for its first element, then ``ID:1``, ``ID:2``."""
    numbered = pl.concat_str(pl.col("id").cast(pl.String), pl.lit(":"), pl.col("place"))
    frame = pl.DataFrame({"id": ids, "place": positions})
    return frame.select(pl.when(pl.col("place") > 0).then(numbered).otherwise("id").alias(ids.name)).to_series()


def _elements(cell: Any) -> list[str | None] | None:
    if not isinstance(cell, str) or not cell.strip():
        return None
    try:
        value = decode(cell)
    except (ValueError, RecursionError):
        value = cell
    return [cell_of(element) for element in (value if isinstance(value, list) else [value])] or None
