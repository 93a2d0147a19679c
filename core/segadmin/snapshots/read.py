"""Reads snapshots. Only snapshots that are published in SQL are read; these are complete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlmodel import Session, col, select

from segadmin.errors import ConfigurationError, DataError, SnapshotNotFound, did_you_mean
from segadmin.models.aliases import current_snapshot
from segadmin.settings import Settings
from segadmin.storage.database import reading, row_number
from segadmin.storage.records import Current, SegmentSnapshot, SegmentSummary, SnapshotState

if TYPE_CHECKING:
    import polars as pl

_CURRENT = current_snapshot("")
NO_SNAPSHOTS = "No snapshots yet. Make one: segadmin enqueue retrain --wait, or try: segadmin demo"


def find_snapshot(session: Session, reference: str, label_set: str | None = None) -> SegmentSnapshot:
    """Return a published snapshot: ``reference`` is its number, or ``current`` (of ``label_set``).

    Raises:
        SnapshotNotFound: there is no such published snapshot.
        ConfigurationError: several are current.
        DataError: there are no snapshots yet.
    """
    if reference != "current":
        number = row_number(reference)
        snapshot = session.get(SegmentSnapshot, number) if number is not None else None
        if snapshot is None or snapshot.state != SnapshotState.PUBLISHED:
            raise SnapshotNotFound(f"There is no published snapshot {reference!r}. See: segadmin snapshots list")
        return snapshot
    by_label_set = currents(session)
    if not by_label_set:
        raise DataError(NO_SNAPSHOTS)
    if label_set is None and len(by_label_set) > 1:
        raise ConfigurationError(f"Which snapshot? Add --label-set; there are: {', '.join(by_label_set)}.")
    label_set = next(iter(by_label_set)) if label_set is None else label_set
    if label_set not in by_label_set:
        raise SnapshotNotFound(f"There is no snapshot for {label_set!r}.{did_you_mean(label_set, by_label_set)}")
    return session.get_one(SegmentSnapshot, by_label_set[label_set])


def snapshot_at(session: Session, moment: datetime, label_set: str | None = None) -> SegmentSnapshot:
    """Return the newest published snapshot of what was known at ``moment``, by its ``as_of``.

    Raises:
        ConfigurationError: there is none that old, or there are several label sets and none was named.
    """
    query = select(SegmentSnapshot).where(
        SegmentSnapshot.state == SnapshotState.PUBLISHED, col(SegmentSnapshot.as_of) <= moment
    )
    name = find_snapshot(session, "current", label_set).label_set
    newest = query.where(SegmentSnapshot.label_set == name).order_by(
        col(SegmentSnapshot.as_of).desc(), col(SegmentSnapshot.id).desc()
    )
    snapshot = session.exec(newest.limit(1)).first()
    if snapshot is None:
        raise ConfigurationError(
            f"No snapshot of {name!r} is as of {moment:%Y-%m-%d %H:%M} or before. See: segadmin snapshots list"
        )
    return snapshot


def currents(session: Session) -> dict[str, int]:
    """Return the current snapshot's number by label set."""
    rows = session.exec(select(Current).where(col(Current.name).startswith(_CURRENT)).order_by(Current.name)).all()
    return {row.name.removeprefix(_CURRENT): row.target_id for row in rows}


def summaries(session: Session, snapshot_id: int) -> Sequence[SegmentSummary]:
    """Return the summary of every segment of a snapshot, in the order of the segments."""
    query = select(SegmentSummary).where(SegmentSummary.snapshot_id == snapshot_id)
    return session.exec(query.order_by(col(SegmentSummary.id))).all()


def assignments(settings: Settings, snapshot_id: int, buckets: Sequence[int] | None = None) -> pl.LazyFrame:
    """Return the assignments of a snapshot, with the columns of :data:`segadmin.storage.schema.ASSIGNMENTS`."""
    from segadmin.storage.assignments import read_assignments
    from segadmin.storage.lake import Lake

    with reading(settings) as session:
        parts = session.get_one(SegmentSnapshot, snapshot_id).parts
    return read_assignments(Lake.of(settings), parts, buckets)


def segments_of(settings: Settings, snapshot_id: int) -> pl.DataFrame:
    """Return ``user_key``, ``segment`` and ``model_version_id`` of the users of a snapshot.

    The segment is null if a user has none.
    """
    return assignments(settings, snapshot_id).select("user_key", "segment", "model_version_id").collect()


def list_snapshots(
    session: Session, label_set: str | None = None, *, before: int | None = None, limit: int | None = None
) -> Sequence[SegmentSnapshot]:
    """Return the published snapshots, newest first: those older than ``before``, at most ``limit``."""
    query = select(SegmentSnapshot).where(SegmentSnapshot.state == SnapshotState.PUBLISHED)
    if label_set is not None:
        query = query.where(SegmentSnapshot.label_set == label_set)
    if before is not None:
        query = query.where(col(SegmentSnapshot.id) < before)
    return session.exec(query.order_by(col(SegmentSnapshot.id).desc()).limit(limit)).all()
