"""How fresh a snapshot is: the time from an event to the publication of the first snapshot that it is in.

It is measured from data alone: which events came in since the snapshot before, their own times, and the time at which
SQL published the snapshot. When a job began does not matter.

Events that are older than the snapshot before says nothing about: a backfill, or a phone that was offline. As stream
processors do, those that come more than :data:`LATENESS` behind the watermark, the newest event that was in before, are
counted apart as late. An event that waited because no worker ran is not late: nothing newer was published before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import polars as pl
from sqlmodel import Session, col, select

from segadmin.storage.arrivals import ArrivedFile, arrived_files
from segadmin.storage.lake import Lake
from segadmin.storage.records import SegmentSnapshot, SnapshotState
from segadmin.storage.schema import TIME, time_literal

#: How far behind the watermark an event may come without being late.
LATENESS = timedelta(minutes=1)


@dataclass(frozen=True)
class Freshness:
    """The seconds from event to publication, of the events that came in since the snapshot before."""

    events: int  #: those that are measured
    p50: float | None  #: seconds; ``None`` without events that are measured
    p95: float | None
    max: float | None
    late: int  #: events that were old when they came; not measured
    ahead: int  #: events whose time is after the publication, by a clock that is wrong; not measured

    @classmethod
    def of(cls, times: pl.Series, watermark: datetime | None, published_at: datetime) -> Self:
        """Return the freshness of events with these ``times``.

        Args:
            times: ``at`` of the events.
            watermark: see :func:`watermark_of`; ``None``: no event is late.
            published_at: when the snapshot was published.
        """
        frame = times.rename("at").to_frame()
        is_ahead = pl.col("at") > time_literal(published_at)
        is_late = pl.lit(value=False) if watermark is None else pl.col("at") < time_literal(watermark - LATENESS)
        ahead, late = frame.select(is_ahead.sum(), late=(is_late & ~is_ahead).sum()).row(0)
        age = (time_literal(published_at) - pl.col("at")).dt.total_microseconds() / 1e6
        ages = frame.filter(~is_ahead, ~is_late).select(age=age)["age"]
        p50, p95 = (ages.quantile(q, "higher") for q in (0.5, 0.95))
        newest: Any = ages.max()
        return cls(len(ages), _rounded(p50), _rounded(p95), _rounded(newest), int(late or 0), int(ahead or 0))

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self | None:
        """Return the freshness that is stored with a snapshot; ``None`` if it is not known."""
        return cls(**stored) if stored else None

    def as_json(self) -> dict[str, Any]:
        """Return what is stored with the snapshot."""
        return asdict(self)


@dataclass(frozen=True)
class Arrived:
    """The events that a snapshot adds to the one before."""

    times: pl.Series
    watermark: datetime | None

    def freshness(self, published_at: datetime) -> Freshness:
        """Return the freshness of a snapshot that was published at this moment."""
        return Freshness.of(self.times, self.watermark, published_at)


def arrived_since(lake: Lake, before: SegmentSnapshot | None) -> Arrived | None:
    """Return the events that came in between ``before`` and the version of ``lake``.

    Returns:
        ``None`` where that cannot be known: there is no snapshot before, the log of the lake was shortened by an
        erasure, or the store is older than the snapshot.
    """
    files = files_since(lake, before)
    if files is None or before is None:
        return None
    try:
        times = [file.times() for file in files]
    except FileNotFoundError:
        return None
    return Arrived(pl.concat(times) if times else pl.Series("at", [], TIME), watermark_of(before))


def files_since(lake: Lake, before: SegmentSnapshot | None) -> Sequence[ArrivedFile] | None:
    """Return the files that were added to the events since ``before``; ``None`` as in :func:`arrived_since`."""
    until = lake.version("events") if lake.versions is None else lake.versions.get("events")
    since = before.lake_versions.get("events") if before is not None else None
    if since is None or until is None or until < since:
        return None
    return arrived_files(lake, since, until)


def oldest_since(lake: Lake, before: SegmentSnapshot) -> datetime | None:
    """Return the time of the oldest event since ``before`` that did not come late; ``None`` if none came, or unknown.

    Files are read only where their statistics do not say it.
    """
    mark = watermark_of(before)
    earliest = None if mark is None else mark - LATENESS
    oldest: list[datetime] = []
    for file in files_since(lake, before) or ():
        if earliest is None or (file.earliest is not None and file.earliest >= earliest):
            oldest += [file.earliest] if file.earliest is not None else []
        elif file.latest is None or file.latest >= earliest:
            oldest += _oldest_in(file, earliest)
    return min(oldest, default=None)


def _oldest_in(file: ArrivedFile, earliest: datetime) -> list[datetime]:
    try:
        times = file.times()
    except FileNotFoundError:
        return []
    return times.filter(times >= earliest).sort().head(1).to_list()


def watermark_of(snapshot: SegmentSnapshot) -> datetime | None:
    """Return the newest event in a snapshot, but not later than its publication: an event from the future is no mark.

    Otherwise one wrong clock would make all events late until its time has come.
    """
    if snapshot.newest_event is None or snapshot.published_at is None:
        return None
    return min(snapshot.newest_event, snapshot.published_at)


def newest_snapshot(session: Session, label_set: str) -> SegmentSnapshot | None:
    """Return the snapshot of a label set that was published last; after a rollback, the current one is older."""
    published = select(SegmentSnapshot).where(
        SegmentSnapshot.label_set == label_set, SegmentSnapshot.state == SnapshotState.PUBLISHED
    )
    return session.exec(published.order_by(col(SegmentSnapshot.id).desc()).limit(1)).first()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
