"""Joins events with the attributes of their items."""

from __future__ import annotations

import polars as pl

from segadmin.events.extras import extra

OF_ITEMS = ("title", "category", "brand")
#: Prefix of facets: further attributes of items, from their extras.
FACET = "facet:"


def with_items(events: pl.LazyFrame, items: pl.DataFrame) -> pl.LazyFrame:
    """Return ``events`` with every other column of ``items`` (title, category, brand); null for unknown items.

    This is a lookup instead of a join, because Polars skips unused columns, but not unused joins.
    """
    index = pl.col("item").replace_strict(
        items["item"], pl.int_range(items.height, dtype=pl.UInt32, eager=True), default=None, return_dtype=pl.UInt32
    )
    indexed = events.with_columns(place=index)
    columns = items.drop("item")
    return indexed.with_columns(pl.lit(column).gather("place").alias(column.name) for column in columns).drop("place")


def facet(name: str, extras: str = "extras") -> pl.Expr:
    """Return the attribute ``name``, such as a department, from the JSON in the column ``extras``; null if missing."""
    return extra(name, extras).alias(FACET + name)
