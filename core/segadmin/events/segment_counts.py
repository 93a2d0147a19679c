"""Numbers of users per segment of the snapshots, which SQL stores, recomputed after users were erased."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl
from sqlmodel import select

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, SegmentSnapshot, SegmentSummary, SnapshotState

#: Number of users and mean probability by segment.
Counts = dict[str, tuple[int, float]]


def count_segments(settings: Settings, lake: Lake) -> None:
    """Update the numbers of users of every published snapshot from its assignments.

    The numbers of rescored, carried and moved users stay as of the time of publication.
    """
    with transaction(settings) as session:
        query = select(SegmentSnapshot).where(SegmentSnapshot.state == SnapshotState.PUBLISHED)
        parts = [snapshot.parts for snapshot in session.exec(query).all()]
    counts = {number: of_segments for each in _longest(parts) for number, of_segments in _counts(lake, each)}
    with transaction(settings) as session:
        for snapshot in session.exec(query).all():
            of_segments = counts.get(snapshot.id or 0, {})
            snapshot.users = sum(users for users, _ in of_segments.values())
            session.add(snapshot)
            for summary in session.exec(select(SegmentSummary).where(SegmentSummary.snapshot_id == snapshot.id)).all():
                summary.users, summary.confidence = of_segments.get(summary.segment, (0, 0.0))
                summary.share = summary.users / max(snapshot.users, 1)
                session.add(summary)


def _longest(parts: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the lists of parts that are no beginning of another one: they contain all snapshots."""
    chains = {tuple(each) for each in parts}
    beginnings = {chain[:length] for chain in chains for length in range(1, len(chain))}
    return sorted(chains - beginnings)


def _counts(lake: Lake, parts: Sequence[int]) -> Iterator[tuple[int, Counts]]:
    """Yield each of ``parts`` with the counts of its snapshot; every row is read once for all of them.

    A row holds from its snapshot to the one before the user's next row, so it is added at the first and subtracted at
    the second.
    """
    place = pl.col("snapshot_id").replace_strict(list(parts), range(len(parts)), return_dtype=pl.Int64)
    rows = (
        lake.scan("assignments")
        .filter(pl.col("snapshot_id").is_in(list(parts)))
        .select("user_key", "probability", "has_left", pl.col("segment").fill_null(NOT_ENOUGH), place=place)
        .sort("user_key", "place")
        .with_columns(until=pl.col("place").shift(-1).over("user_key"))
        .filter(pl.col("has_left").fill_null(value=False).not_())
    )
    begin = rows.select("segment", "probability", "place", users=pl.lit(1))
    end = rows.select("segment", -pl.col("probability"), place="until", users=pl.lit(-1)).drop_nulls("place")
    changes = (
        pl.concat([begin, end], how="diagonal")
        .group_by("segment", "place")
        .agg(pl.col("users").sum(), pl.col("probability").cast(pl.Float64).sum())
        .sort("place")
        .collect(engine="streaming")
    )
    totals: dict[str, tuple[int, float]] = {}
    for number, part in enumerate(parts):
        for segment, _, users, probability in changes.filter(pl.col("place") == number).iter_rows():
            before = totals.get(segment, (0, 0.0))
            totals[segment] = (before[0] + users, before[1] + (probability or 0.0))
        yield part, {segment: (users, total / users) for segment, (users, total) in totals.items() if users}
