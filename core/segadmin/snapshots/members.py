"""Who is in a snapshot, or in one of its segments, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from segadmin.errors import DataError, did_you_mean
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, ModelVersion, SegmentSnapshot
from segadmin.storage.schema import ASSIGNMENTS
from segadmin.storage.store import known_store

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
        known, store = session.get_one(ModelVersion, snapshot.model_version_id).segments, known_store(session)
    if segment not in {None, NOT_ENOUGH, *known}:
        raise DataError(f"There is no segment {segment!r}.{did_you_mean(segment or '', known)}")
    selected = pl.col("probability") >= min_probability
    if segment is not None:
        selected &= pl.col("segment").fill_null(NOT_ENOUGH) == segment
    first, key = after if after is not None else (0, None)
    parts: list[pl.DataFrame] = []
    for buckets in _growing(range(first, store.buckets)):
        rows = assignments(settings, snapshot.id or 0, buckets).filter(selected)
        if key is not None:
            rows = rows.filter((pl.col("bucket") > first) | (pl.col("user_key") > key))
        parts.append(rows.select(_COLUMNS).sort("bucket", "user_key").head(limit).collect())
        if sum(part.height for part in parts) >= limit:
            break
    members = pl.concat(parts).head(limit) if parts else pl.DataFrame(schema={n: ASSIGNMENTS[n] for n in _COLUMNS})
    if user_ids:
        read, lake = members["bucket"].unique().to_list(), Lake.of(settings)
        tables = ("users", "merged_users")  # merged users are in the snapshot until the next refresh
        ids = pl.concat([lake.scan(table, buckets=read).select("user_key", "user") for table in tables])
        members = (
            members.lazy().join(ids.unique("user_key"), on="user_key", how="left", maintain_order="left").collect()
        )
    return members.to_dicts()


def _growing(buckets: range) -> Iterator[range]:
    """Yield the buckets in parts, each twice as long as the one before: a page needs few of many."""
    length = 1
    while buckets:
        yield buckets[:length]
        buckets, length = buckets[length:], 2 * length
