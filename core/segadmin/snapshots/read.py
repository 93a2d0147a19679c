"""Reads snapshots. Only snapshots that are published in SQL are read; these are complete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlmodel import Session, col, select

from segadmin.errors import ConfigurationError, DataError, SnapshotNotFound, did_you_mean
from segadmin.models.aliases import current_snapshot
from segadmin.settings import Settings
from segadmin.snapshots.policy import Override
from segadmin.storage.database import reading, row_number
from segadmin.storage.records import Current, SegmentSnapshot, SegmentSummary, SnapshotState

if TYPE_CHECKING:
    import polars as pl

_CURRENT = current_snapshot("")
#: Made once, because nearly every page and answer needs it.
_CURRENTS = select(Current).where(col(Current.name).startswith(_CURRENT)).order_by(Current.name)
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
    """Return the last published snapshot that is as of ``moment`` or before.

    Raises:
        ConfigurationError: there is none that old, or there are several label sets and none was named.
    """
    query = select(SegmentSnapshot).where(
        SegmentSnapshot.state == SnapshotState.PUBLISHED, col(SegmentSnapshot.as_of) <= moment
    )
    name = find_snapshot(session, "current", label_set).label_set
    # The last that was published, although one before it may be as of later: of events that are no longer there.
    newest = query.where(SegmentSnapshot.label_set == name).order_by(col(SegmentSnapshot.id).desc())
    snapshot = session.exec(newest.limit(1)).first()
    if snapshot is None:
        raise ConfigurationError(
            f"No snapshot of {name!r} is as of {moment:%Y-%m-%d %H:%M} or before. See: segadmin snapshots list"
        )
    return snapshot


def went_back_from(session: Session, snapshot: SegmentSnapshot) -> datetime | None:
    """Return as of when the snapshot before was, if that is later because the newest events were removed since.

    A job that was retried after another has published may have read older events.
    """
    before = None if snapshot.previous_id is None else session.get(SegmentSnapshot, snapshot.previous_id)
    if before is None or before.as_of <= snapshot.as_of:
        return None
    versions = [each.lake_versions.get("events", 0) for each in (before, snapshot)]
    return before.as_of if versions == sorted(versions) else None


def currents(session: Session) -> dict[str, int]:
    """Return the current snapshot's number by label set."""
    return {row.name.removeprefix(_CURRENT): row.target_id for row in session.exec(_CURRENTS).all()}


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
    """Return the columns of :func:`segments_in` of the users of a snapshot."""
    return segments_in(assignments(settings, snapshot_id)).collect()


def segments_in(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return ``user_key``, ``segment``, ``model_version_id`` and ``is_corrected`` of assignments.

    The segment is null if a user has none; ``is_corrected`` is whether people set it.
    """
    import polars as pl

    is_corrected = (pl.col("overridden_by") == Override.CORRECTION.value).fill_null(value=False)
    return rows.select("user_key", "segment", "model_version_id", is_corrected=is_corrected)


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
