"""Reads the history of assignments: which rows make up a snapshot.

A snapshot that was written whole has a row for every user. Another one has rows only of the users who changed, and
otherwise consists of the rows of earlier snapshots. ``SegmentSnapshot.parts`` lists the snapshots whose rows make it
up, the complete one first; of each user the last row is valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segadmin.storage.lake import Lake


def read_assignments(lake: Lake, parts: Sequence[int], buckets: Sequence[int] | None = None) -> pl.LazyFrame:
    """Return the rows that are valid in the snapshot that consists of ``parts``, a row for each user.

    Args:
        lake: with the table ``assignments``.
        parts: numbers of snapshots, the complete one first.
        buckets: read only these buckets.

    Returns:
        The columns of :data:`segadmin.storage.schema.ASSIGNMENTS`; of users who left there is no row.
    """
    complete, *later = parts
    whole = lake.scan("assignments", buckets=buckets, snapshot_id=complete)
    if not later:
        return whole
    changes = read_changes(lake, later, buckets)
    unchanged = whole.join(changes.select("user_key"), on="user_key", how="anti")
    return pl.concat([unchanged, changes.filter(pl.col("has_left").not_())])


def read_changes(lake: Lake, parts: Sequence[int], buckets: Sequence[int] | None = None) -> pl.LazyFrame:
    """Return the last row of each user in ``parts``, also of users who left."""
    rows = lake.scan("assignments", buckets=buckets, snapshot_id=parts)
    return rows.sort("snapshot_id").unique("user_key", keep="last", maintain_order=True)
