"""Outcomes: what users do in the time after a cut-off, as the features of that time."""

from __future__ import annotations

import polars as pl

from segadmin.events.items import with_items
from segadmin.storage.lake import Lake
from segadmin.storage.schema import TIME
from segadmin.text.features import feature_names, features
from segadmin.text.reader import read_items
from segadmin.text.recipe import Recipe, Window


def read_outcomes(lake: Lake, bucket: int, window: Window, recipe: Recipe, users: pl.DataFrame) -> pl.DataFrame:
    """Return what ``users`` (``user_key``) of a bucket did in ``window``, which begins at the cut-off.

    Returns:
        ``user_key``, ``as_of`` (the cut-off) and ``outcomes``: a value per feature of ``recipe``; those of a user
        without events are null.
    """
    inside = lake.scan("events", buckets=[bucket]).filter(
        pl.col("at") >= window.observed_from, pl.col("at") < window.as_of
    )
    events = inside.join(users.lazy().select("user_key"), on="user_key", how="semi")
    items = read_items(lake, recipe)
    measured = features(with_items(events, items), window, recipe).collect()
    nothing = pl.lit([None] * len(feature_names(recipe)), dtype=pl.List(pl.Float32))
    return (
        users.select("user_key")
        .join(measured, on="user_key", how="left", maintain_order="left")
        .select("user_key", as_of=pl.lit(window.observed_from), outcomes=pl.col("features").fill_null(nothing))
        .cast({"as_of": TIME})
    )
