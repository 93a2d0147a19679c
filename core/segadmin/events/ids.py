"""Event ids: an event has the same id on every machine and in every version of segadmin."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars_hash
from numpy.typing import NDArray

from segadmin.hashing import GOLDEN_GAMMA, inverse_splitmix64, splitmix64

#: The hashed columns of an event, in order.
_HASHED = ("user_key", "at", "kind", "item", "quantity", "price", "duration", "rating", "text", "extras")


def event_ids(events: pl.DataFrame) -> pl.Series:
    """Return 64-bit ids: of user and the shop's ``event_id`` if an event has one, else of all its columns.

    Text is hashed with xxHash64, and columns are combined with SplitMix64's finalizer: both are published algorithms
    and run without Python code per row. Polars' own hash may differ between versions. Two events get the same id by
    chance once in 10¹⁹ pairs, and only events of the same bucket are compared.
    """
    given = [name for name in (*_HASHED, "event_id") if events[name].null_count() < events.height]
    digests = events.select(_digest(name, events.schema[name]) for name in given)
    bits = {column.name: column.to_numpy().view(np.uint64) for column in digests}
    mixed = np.zeros(events.height, np.uint64)
    for position, name in enumerate(_HASHED):
        if name in bits:  # a null does not change the hash
            updated = _mix(mixed ^ (bits[name] + np.uint64(position)))
            cells = events[name]
            mixed = np.where(cells.is_null().to_numpy(), mixed, updated) if cells.null_count() else updated
    content_ids = pl.Series("event_id", mixed.view(np.int64))
    if "event_id" not in bits:
        return content_ids
    user_keys = bits.get("user_key", np.zeros(events.height, np.uint64))
    shop_ids = pl.Series(_mix(bits["event_id"] ^ user_keys).view(np.int64))
    return content_ids.zip_with(events["event_id"].is_null(), shop_ids).alias("event_id")


def ids_under(events: pl.DataFrame, keys: pl.Series) -> pl.Series:
    """Return the ids that stored events would have under other users' keys, as if they had been imported so.

    Args:
        events: the columns of the table ``events``.
        keys: the other key of each event (Int64).
    """
    without_ids = events.with_columns(event_id=pl.lit(None, pl.Int64))
    is_content_id = event_ids(without_ids) == events["event_id"]
    content_ids = event_ids(without_ids.with_columns(keys.alias("user_key")))
    change = (events["user_key"].to_numpy() ^ keys.to_numpy()).view(np.uint64)
    shop_ids = pl.Series(_mix(_unmix(events["event_id"].to_numpy().view(np.uint64)) ^ change).view(np.int64))
    return content_ids.zip_with(is_content_id, shop_ids).alias("event_id")


def _digest(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a 64-bit hash of each text, or each number as Int64 or Float64."""
    if dtype == pl.String:
        return polars_hash.col(name).nchash.xxhash64().fill_null(0)
    number = pl.col(name)
    # Adding 0.0 turns -0.0 into 0.0.
    return (number + 0.0 if dtype == pl.Float64 else number.cast(pl.Int64)).fill_null(0)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what SplitMix64 makes of each number in one step."""
    return splitmix64(bits + np.uint64(GOLDEN_GAMMA))


def _unmix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the numbers of which :func:`_mix` makes ``bits``."""
    return inverse_splitmix64(bits) - np.uint64(GOLDEN_GAMMA)
