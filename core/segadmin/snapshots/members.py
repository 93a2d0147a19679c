"""Who is in a snapshot, or in one of its segments, page by page."""

from __future__ import annotations

from typing import Any

import polars as pl

from segadmin.errors import DataError, did_you_mean
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, ModelVersion, SegmentSnapshot

_COLUMNS = ("bucket", "user_key", "segment", "probability", "probabilities", "model_version_id", "scored_as_of")


def list_members(
    settings: Settings,
    snapshot: SegmentSnapshot,
    limit: int,
    *,
    segment: str | None = None,
    min_probability: float = 0.0,
    after: tuple[int, int] | None = None,
    user_ids: bool = False,
) -> list[dict[str, Any]]:
    """Return at most ``limit`` users of a snapshot, by bucket and key.

    Args:
        settings: location of the store.
        snapshot: a published one.
        limit: most users.
        segment: only of this one.
        min_probability: minimum probability of the user's segment.
        after: bucket and key of the last user before.
        user_ids: also return the shop's own ids.

    Returns:
        ``bucket``, ``user_key``, ``segment`` (``None``: too little is known), ``probability``, ``probabilities``,
        ``model_version_id``, ``scored_as_of``, and ``user`` with ``user_ids``.

    Raises:
        DataError: there is no such segment.
    """
    with reading(settings) as session:
        known = session.get_one(ModelVersion, snapshot.model_version_id).segments
    if segment not in {None, NOT_ENOUGH, *known}:
        raise DataError(f"There is no segment {segment!r}.{did_you_mean(segment or '', known)}")
    rows = assignments(settings, snapshot.id or 0).filter(pl.col("probability") >= min_probability)
    if segment is not None:
        rows = rows.filter(pl.col("segment").fill_null(NOT_ENOUGH) == segment)
    if after is not None:
        bucket, key = after
        same_bucket = (pl.col("bucket") == bucket) & (pl.col("user_key") > key)
        rows = rows.filter((pl.col("bucket") > bucket) | same_bucket)
    members = rows.select(_COLUMNS).sort("bucket", "user_key").head(limit)
    if user_ids:
        users = Lake.of(settings).scan("users").select("user_key", "user")
        members = members.join(users, on="user_key", how="left", maintain_order="left")
    return members.collect().to_dicts()
