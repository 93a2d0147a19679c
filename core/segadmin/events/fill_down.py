"""Forward filling of cells: some exports of orders contain an order's data only in its first row."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from segadmin.events.mapping import Mapping


class FillDown:
    """Fills blank cells with the value of the row above within a group of rows, across the chunks of a file.

    Args:
        by: the column with equal values in the rows of a group, such as the order's number.
        columns: the columns to fill.
    """

    def __init__(self, by: str, columns: tuple[str, ...]) -> None:
        self._by, self._columns = by, columns
        self._last: pl.DataFrame | None = None

    def __call__(self, chunk: pl.DataFrame) -> pl.DataFrame:
        """Return the next chunk, filled."""
        columns = [name for name in self._columns if name in chunk.columns]
        if self._by not in chunk.columns or not columns or chunk.is_empty():
            return chunk
        rows = chunk.select(self._by, *columns).with_columns(_without_blanks(pl.col(pl.String)))
        offset = 0
        if self._last is not None and self._last.columns == rows.columns:
            rows, offset = pl.concat([self._last, rows], how="vertical_relaxed"), self._last.height
        group = pl.col(self._by).ne_missing(pl.col(self._by).shift()).cum_sum()
        filled = pl.when(pl.col(self._by).is_not_null()).then(pl.col(columns).forward_fill().over(group))
        rows = rows.with_columns(filled.otherwise(pl.col(columns)))
        self._last = rows.tail(1)
        return chunk.with_columns(rows[offset:].get_columns()[1:])


def _without_blanks(cells: pl.Expr) -> pl.Expr:
    return pl.when(cells.str.strip_chars() != "").then(cells)


def fill_of(mapping: Mapping) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return a function that fills the consecutive chunks of a file according to the mapping."""
    if mapping.fill is None:
        return lambda chunk: chunk
    return FillDown(mapping.fill.by, mapping.fill.columns)
