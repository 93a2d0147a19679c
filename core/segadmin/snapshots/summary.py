"""Summarises each segment of a snapshot: size, confidence and distinctive categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH
from segadmin.text.recipe import Window

#: Minimum number of events, share and lift of a distinctive category.
_MIN_EVENTS, _MIN_SHARE, _MIN_LIFT = 10, 0.005, 1.05
_TOP = 3


def summarise(
    users: pl.DataFrame, segments: Sequence[str], categories: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return one row of ``SegmentSummary`` for every segment, in the order of ``segments``.

    Unassigned users, if any, are counted in an additional row.

    Args:
        users: ``segment`` and ``probability`` of all users.
        segments: all segments, including empty ones.
        categories: the :func:`distinctive` categories by segment.
    """
    if users["segment"].null_count():
        users = _named(users)
        segments = [*segments, NOT_ENOUGH]
    sizes = users.group_by("segment").agg(pl.len().alias("users"), pl.col("probability").mean().alias("confidence"))
    by_segment = {row["segment"]: row for row in sizes.iter_rows(named=True)}
    return [
        {
            "segment": segment,
            "users": by_segment.get(segment, {}).get("users", 0),
            "share": by_segment.get(segment, {}).get("users", 0) / max(users.height, 1),
            "confidence": by_segment.get(segment, {}).get("confidence", 0.0),
            "distinctive": categories.get(segment, []),
        }
        for segment in segments
    ]


def distinctive(lake: Lake, users: pl.DataFrame, window: Window) -> dict[str, list[dict[str, Any]]]:
    """Return the categories that each segment prefers compared with all ``users``, by descending lift.

    ``lift`` is the category's share of the segment's purchases divided by its share of all users' purchases; without
    purchases in the window, all events count.
    """
    inside = lake.scan("events").filter(pl.col("at") >= window.observed_from, pl.col("at") < window.as_of)
    categories = lake.scan("items").filter(pl.col("category").is_not_null()).select("item", "category")
    counts = (
        inside.select("user_key", "item", "kind")
        .join(categories, on="item")
        .join(_named(users).lazy().select("user_key", "segment"), on="user_key")
        .group_by("segment", "category", (pl.col("kind") == "purchase").alias("bought"))
        .agg(pl.len().alias("events"))
        .collect(engine="streaming")
    )
    if counts["bought"].any():
        counts = counts.filter("bought")
    shares = (
        counts.group_by("segment", "category")
        .agg(pl.col("events").sum())
        .with_columns(
            share=pl.col("events") / pl.col("events").sum().over("segment"),
            overall=pl.col("events").sum().over("category") / pl.col("events").sum(),
        )
        .with_columns(lift=pl.col("share") / pl.col("overall"))
        .filter(pl.col("events") >= _MIN_EVENTS, pl.col("share") >= _MIN_SHARE, pl.col("lift") >= _MIN_LIFT)
        .sort("segment", "lift", "category", descending=[False, True, False])
        .group_by("segment", maintain_order=True)
        .head(_TOP)
    )
    by_segment: dict[str, list[dict[str, Any]]] = {}
    for row in shares.iter_rows(named=True):
        by_segment.setdefault(row["segment"], []).append({name: row[name] for name in ("category", "share", "lift")})
    return by_segment


def _named(users: pl.DataFrame) -> pl.DataFrame:
    """Return ``users`` with a segment for those who are unassigned."""
    return users.with_columns(pl.col("segment").fill_null(NOT_ENOUGH))
