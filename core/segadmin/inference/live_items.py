"""The attributes of single items, from a sorted copy of the lake's table in memory."""

from __future__ import annotations

import threading

import numpy as np
import polars as pl

from segadmin.settings import Settings
from segadmin.storage.lake import Lake


class LiveItems:
    """Finds items in time that hardly grows with the catalogue; an import of items is noticed at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._version: int | None = None
        self._items: pl.DataFrame | None = None

    def of(self, items: pl.Series) -> pl.DataFrame:
        """Return the rows of the lake's table for ``items``; unknown ones have none."""
        table = self._table()
        wanted = items.drop_nulls().unique()
        if table.is_empty() or wanted.is_empty():
            return table.clear()
        places = np.minimum(table["item"].search_sorted(wanted).to_numpy(), table.height - 1)
        rows: pl.DataFrame = table[places]
        return rows.filter(rows["item"] == wanted)

    def _table(self) -> pl.DataFrame:
        lake = Lake.of(self._settings)
        version = lake.version("items")
        with self._lock:
            if self._items is None or version != self._version:
                self._items = lake.scan("items").sort("item").collect()
                self._version = version
            return self._items
