"""Event ids: the same event has the same id on every machine and in every version."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars_hash
from numpy.typing import NDArray

from segadmin.hashing import GOLDEN_GAMMA, splitmix64

#: What an event says, in the order that it is hashed in.
_SAID = ("user_key", "at", "kind", "item", "quantity", "price", "duration", "rating", "text", "extras")


def event_ids(events: pl.DataFrame) -> pl.Series:
    """Return 64-bit ids: of user and the shop's own ``event_id`` where an event has one, else of everything it says.

    xxHash64 for text and SplitMix64's finalizer to put the fields together, since both are published and need no
    Python for each row; Polars' own hash may differ from version to version. Two events get the same id by chance once
    in 10¹⁹ pairs; and only events of one bucket are compared.
    """
    mixed = np.zeros(events.height, np.uint64)
    for place, name in enumerate(_SAID):
        cells = events[name]
        if cells.null_count() < events.height:  # a cell that is not there changes nothing
            more = _mix(mixed ^ (_digest(cells) + np.uint64(place)))
            mixed = np.where(cells.is_null().to_numpy(), mixed, more) if cells.null_count() else more
    made = pl.Series("event_id", mixed.view(np.int64))
    if events["event_id"].null_count() == events.height:
        return made
    own = pl.Series(_mix(_digest(events["event_id"]) ^ _digest(events["user_key"])).view(np.int64))
    return made.zip_with(events["event_id"].is_null(), own).alias("event_id")


def _digest(cells: pl.Series) -> NDArray[np.uint64]:
    """Return 64 bits of each cell."""
    if cells.dtype == pl.String:
        hashed = cells.to_frame("cell").select(polars_hash.col("cell").nchash.xxhash64()).to_series()
        return hashed.fill_null(0).to_numpy()
    numbers = cells.cast(pl.Int64) if cells.dtype != pl.Float64 else cells + 0.0  # 0.0 for -0.0 too
    return numbers.fill_null(0).to_numpy().view(np.uint64)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what SplitMix64 makes of each number in one step."""
    return splitmix64(bits + np.uint64(GOLDEN_GAMMA))
