"""Hashes of what a user's text is made of, by which a refresh knows whose text must be read again.

Both are sums modulo 2⁶⁴ over the user's events in the window, so rows may come in any order and from any file. Event
ids are hashes themselves (:mod:`segadmin.events.ids`), and an event never changes once it is stored.
"""

from __future__ import annotations

import polars as pl

from segadmin.text.fingerprint import phrase_hash

#: The columns of the hashes. A user without events has 0 in both.
SOURCE_HASHES = ("events_hash", "items_hash")


def source_hashes(events: pl.DataFrame, items: pl.DataFrame | None) -> pl.DataFrame:
    """Return ``user_key``, ``events_hash`` and ``items_hash`` of the users of ``events``.

    Args:
        events: ``user_key``, ``event_id``, ``item``: of each user those in the window.
        items: the attributes of items that texts read, see :func:`segadmin.text.reader.attributes`; with ``None`` there
            is no ``items_hash``.
    """
    hashes = [pl.col("event_id").sum().alias("events_hash")]
    if items is not None:
        bought = items.join(events.select(pl.col("item").unique()), on="item", how="semi")
        texts = bought.select(pl.concat_list(pl.exclude("item").cast(pl.String).fill_null("\x1e"))).to_series()
        attributes = bought.select("item", items_hash=phrase_hash(texts))
        events = events.join(attributes, on="item", how="left")
        hashes.append(pl.col("items_hash").sum())
    return events.group_by("user_key").agg(hashes)
