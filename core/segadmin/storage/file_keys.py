"""Which files of a table may have rows of a user, from an index in memory: files never change."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Larger files have nearly every user and are not indexed.
_MAX_ROWS = 2**16
#: Files that are indexed; those with a hundredth of a million users take 40 kB each.
_MAX_FILES = 1024


def may_have(path: str, user_key: int) -> bool:
    """Return whether the file ``path``, with a column ``user_key``, may have rows of a user."""
    keys = _keys_in(path)
    if keys is None:
        return True
    wanted = _low_half(np.array([user_key]))
    position = keys.searchsorted(wanted)[0]
    return bool(position < len(keys) and keys[position] == wanted[0])


@lru_cache(_MAX_FILES)
def _keys_in(path: str) -> NDArray[np.uint32] | None:
    """Return the lower halves of the keys in a file, sorted; ``None``: it is a large one."""
    rows = pl.scan_parquet(path, glob=False)
    if rows.select(pl.len()).collect().item() > _MAX_ROWS:
        return None
    return np.unique(_low_half(rows.select("user_key").collect()["user_key"].to_numpy()))


def _low_half(keys: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the lower 32 bits of keys, which are hashes: few users share them."""
    return keys.astype(np.uint32)
