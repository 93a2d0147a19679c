"""What is known of the items that events are about."""

from __future__ import annotations

import polars as pl

from segadmin.events.extras import extra

OF_ITEMS = ("title", "category", "brand")
#: What goes before the name of a facet: something that a shop says of its items beside those, in their extras.
FACET = "facet:"


def with_items(events: pl.LazyFrame, items: pl.DataFrame) -> pl.LazyFrame:
    """Return ``events`` with every other column of ``items`` (title, category, brand), null where one is unknown.

    By looking up, not by joining: Polars leaves a column out that nobody asks for, but no join.
    """
    place = pl.col("item").replace_strict(
        items["item"], pl.int_range(items.height, dtype=pl.UInt32, eager=True), default=None, return_dtype=pl.UInt32
    )
    found = events.with_columns(place=place)
    return found.with_columns(pl.lit(one).gather("place").alias(one.name) for one in items.drop("item")).drop("place")


def facet(name: str, extras: str = "extras") -> pl.Expr:
    """Return what the items' JSON in the column ``extras`` says of ``name``, such as a department; null is nothing."""
    return extra(name, extras).alias(FACET + name)
