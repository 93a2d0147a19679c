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
from segadmin.snapshots.read import assignments, bucket_groups
from segadmin.snapshots.recent import Recent
from segadmin.snapshots.segment_order import in_order, orders_of
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.storage.schema import time_literal
from segadmin.storage.store import known_store

#: Users who are read at once.
_AT_ONCE = 100_000


#: Of each label set one, as a page shows it: some thousand bytes.
_recent = Recent[pl.DataFrame](20, ("assignments", "events", "merged_users"))


def recent_review(settings: Settings, snapshot: SegmentSnapshot, limit: int) -> pl.DataFrame:
    """Return the rows of :func:`review`, from memory if they were computed lately and nothing has changed since."""
    with reading(settings) as session:
        corrected = frozenset(row.user_key for row in in_force(session, snapshot.label_set))
    return _recent.get(settings, (snapshot.id, limit, corrected), lambda: review(settings, snapshot, limit))


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
        version, store = session.get_one(ModelVersion, snapshot.model_version_id), known_store(session)
        corrections = segments_by_user(in_force(session, snapshot.label_set))
        orders = orders_of(session, snapshot)
    segments = tuple(version.segments)
    corrected = of_root_users(corrections, MergedUsers.of(Lake.of(settings)))["user_key"].implode()
    window = timedelta(days=manifest_of(version).recipe.window_days)
    best: pl.DataFrame | None = None
    has_amounts = False
    for buckets in bucket_groups(snapshot.users, store.buckets, _AT_ONCE):
        rows = assignments(settings, snapshot.id or 0, buckets).filter(~pl.col("user_key").is_in(corrected))
        users = rows.select("user_key", in_order(orders, segments), "phrase_hash").collect()
        if by_value:
            spend = _spend(settings, snapshot, window, buckets)
            users = users.join(spend, on="user_key", how="left", maintain_order="left")
        value = pl.col("value").fill_null(0.0) if by_value else pl.lit(1.0)
        scored = _scored(users.with_columns(value=value), segments)
        has_amounts |= bool((scored["value"] > 0).any())
        best = _best(scored, limit, best)
    if by_value and not has_amounts:
        return review(settings, snapshot, limit, by_value=False)
    assert best is not None, "a store has buckets"
    return _ranked(best, segments, limit)


def rank(users: pl.DataFrame, segments: tuple[str, ...], limit: int) -> pl.DataFrame:
    """Return the first ``limit`` of ``users`` in the order in which it pays to look at them.

    The priority is uncertainty x value. So that the first users are not all alike, it is divided by 1 for the first
    user between two segments, by 2 for the second of another text, and so on; and of users with the same text only the
    first is kept.

    Args:
        users: ``user_key``, ``probabilities`` (in the order of ``segments``), ``value`` and ``phrase_hash``.
        segments: of the model, two or more.
        limit: maximum number of users.

    Returns:
        ``user_key``, ``segment`` and ``probability`` of the most probable segment, ``second`` and
        ``second_probability`` of the next one, ``uncertainty`` (entropy, 0 to 1), ``value`` and ``priority``.
    """
    return _ranked(_best(_scored(users, segments), limit), segments, limit)


def _best(scored: pl.DataFrame, limit: int, best: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return at most ``limit`` users between any two segments, by priority, and one of each text.

    Args:
        scored: the columns of :func:`_scored`.
        limit: maximum number of users.
        best: those of other users, who are considered too.
    """
    if best is not None:
        enough = best.group_by("alike").agg(pl.len(), pl.col("priority").min()).filter(pl.col("len") == limit)
        least = pl.col("alike").replace_strict(
            enough["alike"], enough["priority"], default=-math.inf, return_dtype=pl.Float64
        )
        scored = pl.concat([best, scored.filter(pl.col("priority") >= least)])
    ordered = scored.sort("priority", "user_key", descending=[True, False])
    once = ordered.unique(["alike", "phrase_hash"], keep="first", maintain_order=True)
    return once.filter(pl.int_range(pl.len()).over("alike") < limit)


def _ranked(best: pl.DataFrame, segments: Sequence[str], limit: int) -> pl.DataFrame:
    """Return the columns of :func:`rank` from :func:`_best` of all users."""
    place = pl.int_range(pl.len()).over("alike")
    return (
        best.with_columns(priority=pl.col("priority") / (place + 1))
        .sort("priority", "user_key", descending=[True, False])
        .unique("phrase_hash", keep="first", maintain_order=True)
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


def _spend(settings: Settings, snapshot: SegmentSnapshot, window: timedelta, buckets: Sequence[int]) -> pl.DataFrame:
    """Return ``user_key`` and ``value``: what users of some buckets spent in the window before a snapshot."""
    at, kind = pl.col("at"), pl.col("kind")
    begin, end = time_literal(snapshot.as_of - window), time_literal(snapshot.as_of)
    purchases = Lake.of(settings).scan("events", buckets=buckets).filter(at >= begin, at < end, kind == "purchase")
    return purchases.group_by("user_key").agg(value=pl.col("price").sum()).collect(engine="streaming")
