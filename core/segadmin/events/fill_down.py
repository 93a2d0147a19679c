"""Filling cells from the row above: exports of orders give what is said of an order on its first row only."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from segadmin.events.mapping import Mapping


class FillDown:
    """Fills blank cells with those of the row above, as long as both rows belong together; over all chunks of a file.

    Args:
        by: the column that is the same for the rows that belong together, such as the order's number.
        columns: what to fill.
    """

    def __init__(self, by: str, columns: tuple[str, ...]) -> None:
        self._by, self._columns = by, columns
        self._last: pl.DataFrame | None = None

    def __call__(self, chunk: pl.DataFrame) -> pl.DataFrame:
        """Return the next chunk, filled."""
        columns = [name for name in self._columns if name in chunk.columns]
        if self._by not in chunk.columns or not columns or chunk.is_empty():
            return chunk
        wanted = chunk.select(self._by, *columns).with_columns(_without_blanks(pl.col(pl.String)))
        before = 0
        if self._last is not None and self._last.columns == wanted.columns:
            wanted, before = pl.concat([self._last, wanted], how="vertical_relaxed"), self._last.height
        together = pl.col(self._by).ne_missing(pl.col(self._by).shift()).cum_sum()
        filled = pl.when(pl.col(self._by).is_not_null()).then(pl.col(columns).forward_fill().over(together))
        wanted = wanted.with_columns(filled.otherwise(pl.col(columns)))
        self._last = wanted.tail(1)
        return chunk.with_columns(wanted[before:].get_columns()[1:])


def _without_blanks(cells: pl.Expr) -> pl.Expr:
    return pl.when(cells.str.strip_chars() != "").then(cells)


def fill_of(mapping: Mapping) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return what fills the chunks of a file, one after the other, as the mapping says."""
    if mapping.fill is None:
        return lambda chunk: chunk
    return FillDown(mapping.fill.by, mapping.fill.columns)
