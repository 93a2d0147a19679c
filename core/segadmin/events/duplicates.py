"""Telling which events were there before, in the file or in the lake."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from segadmin.events.clean import mark
from segadmin.events.lake import Lake


def mark_duplicates(lake: Lake, cleaned: pl.DataFrame) -> pl.DataFrame:
    """Give every event its id, and mark those that were there before: in this file or in the lake."""
    cleaned = cleaned.with_columns(event_id=_event_ids(cleaned), shop_id=pl.col("event_id").is_not_null())
    good = pl.col("problem").is_null()
    known = _known_events(lake, cleaned)
    marked = cleaned.join(known, on="event_id", how="left", maintain_order="left")
    again = good & (pl.col("known").fill_null(value=False) | ~pl.struct("event_id", good).is_first_distinct())
    return mark(marked, again, "duplicate_event", "event_id").drop("known", "shop_id")


def _known_events(lake: Lake, cleaned: pl.DataFrame) -> pl.DataFrame:
    """Return the ids among those of ``cleaned`` that the lake has; without ids of the shop's, only their times count.

    An id made of what the event says has the time in it, so files of other times need not be read.
    """
    events = lake.scan("events")
    if not cleaned["shop_id"].any():
        good = cleaned.filter(pl.col("problem").is_null())["at"]
        events = events.filter(pl.col("at").is_between(good.min(), good.max()))
    ids = cleaned.lazy().select("event_id").unique()
    return events.select(pl.col("event_id").unique()).join(ids, on="event_id").with_columns(known=True).collect()


def _event_ids(cleaned: pl.DataFrame) -> pl.Series:
    """Return 64-bit ids: of the shop's own event id where it has one, else of everything the event says.

    BLAKE2 is the same on every machine and in every version, which Polars' own hash and its way of writing decimals
    need not be.
    """
    names = ("user_key", "kind", "item", "quantity", "price", "duration", "rating", "text", "extras")
    numbers = [_bits(cleaned[name]) for name in names if cleaned[name].dtype == pl.Float64]
    whole = cleaned.with_columns(pl.col("at").cast(pl.Int64), *numbers)
    cells = [pl.col(name).cast(pl.String).fill_null("\x00") for name in ("at", *names)]
    told = pl.concat_str(*cells, separator="\x1f")
    text = whole.select(pl.coalesce(pl.col("event_id").cast(pl.String), told))
    ids = [
        None
        if cell is None
        else int.from_bytes(hashlib.blake2b(cell.encode(), digest_size=8).digest(), "big", signed=True)
        for cell in text.to_series()
    ]
    return pl.Series("event_id", ids, dtype=pl.Int64)


def _bits(numbers: pl.Series) -> pl.Series:
    """Return decimals as the integers of their 64 bits, null where there is none; 0.0 for -0.0 too."""
    values = numbers.fill_null(0.0).to_numpy() + np.float64(0.0)
    return pl.Series(numbers.name, values.view(np.int64)).set(numbers.is_null(), None)
