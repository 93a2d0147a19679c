"""What was computed last, in memory: pages of the same thing are often read one after the other."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from segadmin.settings import Settings
from segadmin.storage.lake import Lake

Result = TypeVar("Result")
#: Store, versions of its tables, and what was computed.
_Key = tuple[str, tuple[int | None, ...], Hashable]


class Recent(Generic[Result]):
    """The newest results that depend on some tables of a store, and on nothing else that changes.

    Args:
        most: how many are kept.
        tables: with another version of one, after a publication or an erasure, everything is computed anew.
    """

    def __init__(self, most: int, tables: tuple[str, ...]) -> None:
        self._most, self._tables = most, tables
        self._results: OrderedDict[_Key, Result] = OrderedDict()
        self._computing = threading.Lock()

    def get(self, settings: Settings, what: Hashable, compute: Callable[[], Result]) -> Result:
        """Return what ``compute`` returned for ``what``, or returns now."""
        lake = Lake.of(settings)
        store, versions = str(settings.store_path), tuple(lake.version(table) for table in self._tables)
        key = (store, versions, what)
        with self._computing:  # of many readers at once, one computes it
            if key not in self._results:
                for old in [each for each in self._results if each[0] == store and each[1] != versions]:
                    del self._results[old]  # nobody finds it any more, and it may have users who were erased since
                self._results[key] = compute()
            self._results.move_to_end(key)
            result = self._results[key]
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        return result
