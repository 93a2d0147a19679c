"""Typical users of a segment: those in the middle of it, by probability and by how active they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, ModelVersion, SegmentSnapshot
from segadmin.storage.schema import time_literal
from segadmin.storage.store import known_store

#: Users among whom the typical ones are looked for. Buckets are random samples, so a few of them are enough.
_SAMPLE = 2_000


def typical_users(settings: Settings, snapshot: SegmentSnapshot, segment: str, limit: int = 5) -> list[dict[str, Any]]:
    """Return the users of a segment who are nearest to its centre.

    The centre is the median of the probability and of the logarithm of the number of events; both are divided by their
    median deviation. They are looked for in as many buckets as hold some two thousand users of the segment.

    Returns:
        ``user_key``, ``probability``, ``events`` and ``spend`` (in the window of the model), the nearest first.
    """
    with reading(settings) as session:
        version = session.get_one(ModelVersion, snapshot.model_version_id)
        buckets = known_store(session).buckets
    users, chosen = _sample(settings, snapshot, segment, buckets)
    window = timedelta(days=manifest_of(version).recipe.window_days)
    at, is_bought = pl.col("at"), pl.col("kind") == "purchase"
    active = (
        Lake.of(settings)
        .scan("events", buckets=chosen)
        .filter(at >= time_literal(snapshot.as_of - window), at < time_literal(snapshot.as_of))
        .join(users.lazy().select("user_key"), on="user_key", how="semi")
        .group_by("user_key")
        .agg(events=pl.len(), spend=pl.col("price").filter(is_bought).sum())
        .collect()
    )
    rows = users.join(active, on="user_key", how="left").with_columns(pl.col("events", "spend").fill_null(0))
    distance = _distance(pl.col("probability")) ** 2 + _distance(pl.col("events").log1p()) ** 2
    nearest = rows.with_columns(distance=distance).sort("distance", "user_key").head(limit)
    return nearest.select("user_key", "probability", "events", "spend").to_dicts()


def _sample(
    settings: Settings, snapshot: SegmentSnapshot, segment: str, buckets: int
) -> tuple[pl.DataFrame, list[int]]:
    """Return users of a segment from as few buckets as hold enough of them, and the buckets."""
    chosen = 1
    while True:
        numbers = list(range(min(chosen, buckets)))
        is_inside = pl.col("segment").fill_null(NOT_ENOUGH) == segment
        rows = assignments(settings, snapshot.id or 0, numbers).filter(is_inside)
        users = rows.select("user_key", pl.col("probability").cast(pl.Float64)).collect()
        if users.height >= _SAMPLE or chosen >= buckets:
            return users, numbers
        chosen *= 4


def _distance(value: pl.Expr) -> pl.Expr:
    """Return how far a value is from the median, in median deviations."""
    deviation = (value - value.median()).abs()
    return deviation / pl.max_horizontal(deviation.median(), pl.lit(1e-9))
