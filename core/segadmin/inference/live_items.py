"""The attributes and the words of single items, from sorted copies in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import polars as pl

from segadmin.settings import Settings
from segadmin.storage.lake import Lake


def _items(lake: Lake) -> pl.DataFrame:
    return lake.scan("items").collect()


class LiveItems:
    """Finds items in time that hardly grows with the catalogue; an import of items is noticed at once.

    Args:
        settings: where the store is.
        table: whose new versions are noticed.
        read: returns the rows, one for each ``item``; default: the items.
    """

    def __init__(self, settings: Settings, table: str = "items", read: Callable[[Lake], pl.DataFrame] = _items) -> None:
        self._settings, self._table_name, self._read = settings, table, read
        self._lock = threading.Lock()
        self._version: int | None = None
        self._items: pl.DataFrame | None = None

    def of(self, items: pl.Series) -> pl.DataFrame:
        """Return the rows of ``items``; unknown ones have none."""
        table = self._table()
        wanted = items.drop_nulls().unique()
        if table.is_empty() or wanted.is_empty():
            return table.clear()
        places = np.minimum(table["item"].search_sorted(wanted).to_numpy(), table.height - 1)
        rows: pl.DataFrame = table[places]
        return rows.filter(rows["item"] == wanted)

    def _table(self) -> pl.DataFrame:
        lake = Lake.of(self._settings)
        version = lake.version(self._table_name)
        with self._lock:
            if self._items is None or version != self._version:
                self._items = self._read(lake).sort("item")
                self._version = version
            return self._items
