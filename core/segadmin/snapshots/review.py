"""Whom it pays most to look at: users about whom the model is unsure, and who are worth much (active learning).

A correction of such a user teaches the next model more than one of a user whom it knows already (uncertainty sampling,
Lewis and Gale 1994), and matters more to the shop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from segadmin.events.merged_users import MergedUsers
from segadmin.labels.corrections import in_force, of_root_users, segments_by_user
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.snapshots.segment_order import in_order, orders_of
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.storage.schema import time_literal

#: So many times the users that are wanted are looked at: some have the same text.
_LIKELY = 4


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
        orders = orders_of(session, snapshot)
    segments = tuple(version.segments)
    corrected = of_root_users(corrections, MergedUsers.of(Lake.of(settings)))["user_key"]
    rows = assignments(settings, snapshot.id or 0).filter(~pl.col("user_key").is_in(corrected.implode()))
    users = rows.select("user_key", in_order(orders, segments), "phrase_hash").collect()
    if by_value:
        window = timedelta(days=manifest_of(version).recipe.window_days)
        users = users.join(_spend(settings, snapshot, window), on="user_key", how="left", maintain_order="left")
        has_amounts = (users["value"].fill_null(0.0) > 0).any()
        users = users.with_columns(value=pl.col("value").fill_null(0.0) if has_amounts else pl.lit(1.0))
    else:
        users = users.with_columns(value=pl.lit(1.0))
    return rank(users, segments, limit)


def rank(users: pl.DataFrame, segments: tuple[str, ...], limit: int) -> pl.DataFrame:
    """Return the first ``limit`` of ``users`` in the order in which it pays to look at them.

    The priority is uncertainty x value. So that the first users are not all alike, it is divided by 1 for the first
    user between two segments, by 2 for the second, and so on; and of users with the same text only the first is kept.

    Args:
        users: ``user_key``, ``probabilities`` (in the order of ``segments``), ``value`` and ``phrase_hash``.
        segments: of the model, two or more.
        limit: maximum number of users.

    Returns:
        ``user_key``, ``segment`` and ``probability`` of the most probable segment, ``second`` and
        ``second_probability`` of the next one, ``uncertainty`` (entropy, 0 to 1), ``value`` and ``priority``.
    """
    place = pl.int_range(pl.len()).over("alike")
    return (
        _likely(_scored(users, segments), limit)
        .with_columns(priority=pl.col("priority") / (place + 1))
        .sort("priority", "user_key", descending=[True, False])
        .head(limit)
        .with_columns(pl.col("segment", "second").replace_strict(dict(enumerate(segments)), return_dtype=pl.String))
        .select(
            *("user_key", "segment", "probability", "second", "second_probability"),
            *("uncertainty", "value", "priority"),
        )
    )


def _scored(users: pl.DataFrame, segments: Sequence[str]) -> pl.DataFrame:
    """Return the columns of :func:`rank`, with places of segments, and ``alike``: between which two segments."""
    width = len(segments)
    probabilities = users["probabilities"].cast(pl.Array(pl.Float32, width)).to_numpy()  # (n_users, n_segments)
    entropy = np.zeros(users.height)
    for column in probabilities.T:  # one after the other: less memory
        clipped = np.clip(column.astype(np.float64), 1e-12, 1.0)
        entropy -= clipped * np.log(clipped)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    most, next_most = np.take_along_axis(probabilities, best, axis=1).T
    return users.select(
        *("user_key", "value", "phrase_hash"),
        segment=pl.Series(best[:, 0]),
        probability=pl.Series(most),
        second=pl.Series(best[:, 1]),
        second_probability=pl.Series(next_most),
        uncertainty=pl.Series(entropy / math.log(width)).clip(0.0, 1.0),
        alike=pl.Series(best.min(axis=1) * width + best.max(axis=1)),
    ).with_columns(priority=pl.col("uncertainty") * pl.col("value"))


def _likely(scored: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Return users by priority, one of each text, at least the first ``limit`` between any two segments.

    Others are not among the first ``limit`` of all. Sorting all of a million users would take most of the time.
    """
    groups = scored.group_by("alike").agg(all=pl.len(), cut=pl.col("priority").top_k(_LIKELY * limit).min())
    cut = pl.col("alike").replace_strict(groups["alike"], groups["cut"], return_dtype=pl.Float64)
    first = scored.filter(pl.col("priority") >= cut)
    rows = _one_of_each_text(scored.join(first, on="phrase_hash", how="semi")).filter(pl.col("priority") >= cut)
    sizes = [frame.group_by("alike").agg(pl.len()) for frame in (first, rows)]
    counts = groups.join(sizes[0], on="alike").join(sizes[1], on="alike", how="left", suffix="_kept")
    is_short = (pl.col("len") < pl.col("all")) & (pl.col("len_kept").fill_null(0) < limit)
    return _one_of_each_text(scored) if counts.filter(is_short).height else rows


def _one_of_each_text(scored: pl.DataFrame) -> pl.DataFrame:
    ordered = scored.sort("priority", "user_key", descending=[True, False])
    return ordered.unique("phrase_hash", keep="first", maintain_order=True)


def _spend(settings: Settings, snapshot: SegmentSnapshot, window: timedelta) -> pl.DataFrame:
    """Return ``user_key`` and ``value``: what users spent in the window before a snapshot."""
    at, kind = pl.col("at"), pl.col("kind")
    begin, end = time_literal(snapshot.as_of - window), time_literal(snapshot.as_of)
    purchases = Lake.of(settings).scan("events").filter(at >= begin, at < end, kind == "purchase")
    return purchases.group_by("user_key").agg(value=pl.col("price").sum()).collect(engine="streaming")
