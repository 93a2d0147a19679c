"""Whom it pays most to look at: users about whom the model is unsure, and who are worth much (active learning).

A correction of such a user teaches the next model more than one of a user whom it knows already (uncertainty sampling,
Lewis and Gale 1994), and matters more to the shop.
"""

from __future__ import annotations

import math
from datetime import timedelta

import polars as pl

from segadmin.events.merged_users import MergedUsers
from segadmin.labels.corrections import in_force, of_root_users, segments_by_user
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.storage.schema import time_literal


def review(settings: Settings, snapshot: SegmentSnapshot, limit: int, *, by_value: bool = True) -> pl.DataFrame:
    """Return the users of a snapshot whom it pays most to look at, the most useful first.

    Users who are corrected already are left out.

    Args:
        settings: where the store is.
        snapshot: a published one.
        limit: maximum number of users.
        by_value: weight uncertainty by spend; otherwise all users are worth the same.

    Returns:
        The columns of :func:`rank`.
    """
    with reading(settings) as session:
        version = session.get_one(ModelVersion, snapshot.model_version_id)
        corrections = segments_by_user(in_force(session, snapshot.label_set))
    corrected = of_root_users(corrections, MergedUsers.of(Lake.of(settings)))["user_key"]
    rows = assignments(settings, snapshot.id or 0).filter(~pl.col("user_key").is_in(corrected.implode()))
    users = rows.select("user_key", "probabilities", "phrase_hash").collect()
    if by_value:
        window = timedelta(days=manifest_of(version).recipe.window_days)
        users = users.join(_spend(settings, snapshot, window), on="user_key", how="left", maintain_order="left")
        has_amounts = (users["value"].fill_null(0.0) > 0).any()
        users = users.with_columns(value=pl.col("value").fill_null(0.0) if has_amounts else pl.lit(1.0))
    else:
        users = users.with_columns(value=pl.lit(1.0))
    return rank(users, tuple(version.segments)).head(limit)


def rank(users: pl.DataFrame, segments: tuple[str, ...]) -> pl.DataFrame:
    """Return ``users`` in the order in which it pays to look at them.

    The priority is uncertainty x value. So that the first users are not all alike, it is divided by 1 for the first
    user between two segments, by 2 for the second, and so on; and of users with the same text only the first is kept.

    Args:
        users: ``user_key``, ``probabilities`` (in the order of ``segments``), ``value`` and ``phrase_hash``.
        segments: of the model, two or more.

    Returns:
        ``user_key``, ``segment`` and ``probability`` of the most probable segment, ``second`` and
        ``second_probability`` of the next one, ``uncertainty`` (entropy, 0 to 1), ``value`` and ``priority``.
    """
    probability = pl.element().cast(pl.Float64).clip(1e-12, 1.0)
    entropy = -pl.col("probabilities").list.eval(probability * probability.log()).list.sum()
    order = pl.col("probabilities").list.eval(pl.element().arg_sort(descending=True)).alias("order")
    names = dict(enumerate(segments))
    rows = users.with_columns(order, uncertainty=(entropy / math.log(len(segments))).clip(0.0, 1.0))
    first, second = (pl.col("order").list.get(place) for place in (0, 1))
    rows = rows.with_columns(
        segment=first.replace_strict(names, return_dtype=pl.String),
        second=second.replace_strict(names, return_dtype=pl.String),
        probability=pl.col("probabilities").list.get(first),
        second_probability=pl.col("probabilities").list.get(second),
        priority=pl.col("uncertainty") * pl.col("value"),
    ).sort("priority", "user_key", descending=[True, False])
    alike = pl.concat_list("segment", "second").list.sort().list.join("\n")
    place = pl.int_range(pl.len()).over(alike)
    return (
        rows.unique("phrase_hash", keep="first", maintain_order=True)
        .with_columns(priority=pl.col("priority") / (place + 1))
        .sort("priority", "user_key", descending=[True, False])
        .select(
            *("user_key", "segment", "probability", "second", "second_probability"),
            *("uncertainty", "value", "priority"),
        )
    )


def _spend(settings: Settings, snapshot: SegmentSnapshot, window: timedelta) -> pl.DataFrame:
    """Return ``user_key`` and ``value``: what users spent in the window before a snapshot."""
    at, kind = pl.col("at"), pl.col("kind")
    begin, end = time_literal(snapshot.as_of - window), time_literal(snapshot.as_of)
    purchases = Lake.of(settings).scan("events").filter(at >= begin, at < end, kind == "purchase")
    return purchases.group_by("user_key").agg(value=pl.col("price").sum()).collect(engine="streaming")
