"""Numbers of users per segment of the snapshots, which SQL stores, recomputed after users were erased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import polars as pl
from sqlmodel import select

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, PROBABILITY_BINS, SegmentSnapshot, SegmentSummary, SnapshotState


@dataclass
class SegmentCount:
    """The users of a segment, and their probabilities of it."""

    users: int = 0
    probability: float = 0.0  #: sum over the users
    by_bin: Counter[int] = field(default_factory=Counter)

    @property
    def confidence(self) -> float:
        """The mean probability."""
        return self.probability / self.users if self.users else 0.0

    @property
    def bins(self) -> list[int]:
        """The users by bin, see ``SegmentSummary.probabilities``."""
        return [self.by_bin[n] for n in range(PROBABILITY_BINS)]


#: By segment.
Counts = dict[str, SegmentCount]


def probability_bin() -> pl.Expr:
    """Return the number of the bin of a probability, see ``SegmentSummary.probabilities``."""
    return (pl.col("probability") * PROBABILITY_BINS).floor().clip(0, PROBABILITY_BINS - 1).cast(pl.Int64)


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
            snapshot.users = sum(count.users for count in of_segments.values())
            session.add(snapshot)
            for summary in session.exec(select(SegmentSummary).where(SegmentSummary.snapshot_id == snapshot.id)).all():
                count = of_segments.get(summary.segment, SegmentCount())
                summary.users, summary.confidence, summary.probabilities = count.users, count.confidence, count.bins
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
        lake.scan("assignments", snapshot_id=parts)
        .select(
            *("user_key", "probability", "has_left"),
            *(pl.col("segment").fill_null(NOT_ENOUGH), probability_bin().alias("bin")),
            place=place,
        )
        .sort("user_key", "place")
        .with_columns(until=pl.col("place").shift(-1).over("user_key"))
        .filter(pl.col("has_left").fill_null(value=False).not_())
    )
    begin = rows.select("segment", "bin", "probability", "place", users=pl.lit(1))
    end = rows.select("segment", "bin", -pl.col("probability"), place="until", users=pl.lit(-1)).drop_nulls("place")
    changes = (
        pl.concat([begin, end], how="diagonal")
        .group_by("segment", "bin", "place")
        .agg(pl.col("users").sum(), pl.col("probability").cast(pl.Float64).sum())
        .sort("place")
        .collect(engine="streaming")
    )
    totals: dict[str, SegmentCount] = {}
    for number, part in enumerate(parts):
        for segment, bin_, _, users, probability in changes.filter(pl.col("place") == number).iter_rows():
            count = totals.setdefault(segment, SegmentCount())
            count.users, count.probability = count.users + users, count.probability + (probability or 0.0)
            count.by_bin[bin_] += users
        yield part, {segment: deepcopy(count) for segment, count in totals.items() if count.users}
