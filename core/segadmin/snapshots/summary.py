"""Summarises each segment of a snapshot: size, confidence and distinctive categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.events.segment_counts import probability_bin
from segadmin.snapshots.profile_estimates import profiles_of
from segadmin.snapshots.profile_sums import sum_up, titles_of
from segadmin.snapshots.segment_profile import SegmentProfile
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, PROBABILITY_BINS
from segadmin.text.recipe import Window

#: Distinctive categories of a summary.
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
        users = users.with_columns(pl.col("segment").fill_null(NOT_ENOUGH))
        segments = [*segments, NOT_ENOUGH]
    sizes = users.group_by("segment").agg(
        pl.len().alias("users"),
        pl.col("probability").mean().alias("confidence"),
        *((probability_bin() == n).sum().alias(f"bin_{n}") for n in range(PROBABILITY_BINS)),
    )
    by_segment = {row["segment"]: row for row in sizes.iter_rows(named=True)}
    return [
        {
            "segment": segment,
            "users": by_segment.get(segment, {}).get("users", 0),
            "share": by_segment.get(segment, {}).get("users", 0) / max(users.height, 1),
            "confidence": by_segment.get(segment, {}).get("confidence", 0.0),
            "distinctive": categories.get(segment, []),
            "probabilities": [by_segment.get(segment, {}).get(f"bin_{n}", 0) for n in range(PROBABILITY_BINS)],
        }
        for segment in segments
    ]


def profile_segments(
    lake: Lake, users: pl.DataFrame, window: Window, progress: Callable[[float, str], None] = no_progress
) -> dict[str, SegmentProfile]:
    """Return the profile of every segment that has users.

    Args:
        lake: with events and items.
        users: ``bucket``, ``user_key`` and ``segment`` of all users.
        window: whose events are compared.
        progress: called with the fraction done and a short note.
    """
    sums = sum_up(lake, users, window, progress)
    return profiles_of(sums, users, titles_of(lake, sums))


def distinctive(profile: SegmentProfile) -> list[dict[str, Any]]:
    """Return the categories that a segment prefers compared with all users, by descending lift.

    ``lift`` is the category's share of the segment's purchases divided by its share of all users' purchases; without
    purchases in the window, all events count.
    """
    chosen = sorted(profile.distinctive("categories", _TOP), key=lambda lift: -lift.lift.value)
    return [{"category": each.name, "share": each.share, "lift": each.lift.value} for each in chosen]
