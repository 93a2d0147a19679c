"""Event ids: an event has the same id on every machine and in every version of segadmin."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars_hash
from numpy.typing import NDArray

from segadmin.hashing import GOLDEN_GAMMA, splitmix64

#: The hashed columns of an event, in order.
_HASHED = ("user_key", "at", "kind", "item", "quantity", "price", "duration", "rating", "text", "extras")


def event_ids(events: pl.DataFrame) -> pl.Series:
    """Return 64-bit ids: of user and the shop's ``event_id`` if an event has one, else of all its columns.

    Text is hashed with xxHash64, and columns are combined with SplitMix64's finalizer: both are published algorithms
    and run without Python code per row. Polars' own hash may differ between versions. Two events get the same id by
    chance once in 10¹⁹ pairs, and only events of the same bucket are compared.
    """
    mixed = np.zeros(events.height, np.uint64)
    for position, name in enumerate(_HASHED):
        cells = events[name]
        if cells.null_count() < events.height:  # a null does not change the hash
            updated = _mix(mixed ^ (_digest(cells) + np.uint64(position)))
            mixed = np.where(cells.is_null().to_numpy(), mixed, updated) if cells.null_count() else updated
    content_ids = pl.Series("event_id", mixed.view(np.int64))
    if events["event_id"].null_count() == events.height:
        return content_ids
    shop_ids = pl.Series(_mix(_digest(events["event_id"]) ^ _digest(events["user_key"])).view(np.int64))
    return content_ids.zip_with(events["event_id"].is_null(), shop_ids).alias("event_id")


def _digest(cells: pl.Series) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each text, or the 64 bits of each number."""
    if cells.dtype == pl.String:
        hashed = cells.to_frame("cell").select(polars_hash.col("cell").nchash.xxhash64()).to_series()
        return hashed.fill_null(0).to_numpy()
    numbers = cells.cast(pl.Int64) if cells.dtype != pl.Float64 else cells + 0.0  # adding 0.0 turns -0.0 into 0.0
    return numbers.fill_null(0).to_numpy().view(np.uint64)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what SplitMix64 makes of each number in one step."""
    return splitmix64(bits + np.uint64(GOLDEN_GAMMA))
