"""Publishes all scores as one snapshot, atomically.

The rows enter the lake in one commit under a number that is not read yet; one SQL transaction then makes it the current
snapshot. Interrupted publishing can be repeated at any point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl
from sqlmodel import Session, select

from segadmin.errors import StorageError
from segadmin.models.aliases import current_snapshot, pointed, switch_snapshot
from segadmin.settings import Settings
from segadmin.snapshots.freshness import Arrived
from segadmin.snapshots.policy import Override
from segadmin.storage.database import now, transaction
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import SegmentSnapshot, SegmentSummary, SnapshotState

Json = dict[str, Any]


@dataclass(frozen=True)
class SnapshotFacts:
    """What is stored with a snapshot, see :class:`segadmin.storage.records.SegmentSnapshot`."""

    previous_id: int | None  #: the snapshot that was current until now
    earlier_parts: list[int]
    users: int
    rescored: int
    rescored_by: dict[str, int]  #: cause → users
    carried: int
    moved: int  #: users whose segment changed
    lake_versions: dict[str, int]  #: what it was made from
    everyone_read_at: datetime | None
    newest_event: datetime | None
    canary_id: int | None
    inference: list[Json]  #: each way that probabilities were computed in
    corrected: int = 0
    moved_without_hysteresis: int | None = None


def begin_snapshot(
    settings: Settings, job_id: int, label_set: str, version_id: int, as_of: datetime
) -> tuple[SegmentSnapshot, int | None]:
    """Return the snapshot of a job, created if needed, and the number of the current snapshot."""
    with transaction(settings) as session:
        snapshot = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.job_id == job_id)).first()
        if snapshot is None:
            snapshot = SegmentSnapshot(label_set=label_set, model_version_id=version_id, job_id=job_id, as_of=as_of)
        if snapshot.state == SnapshotState.BUILDING:  # possibly started by an earlier attempt with another model
            snapshot.model_version_id, snapshot.as_of = version_id, as_of
            session.add(snapshot)
            session.flush()
        return snapshot, pointed(session, current_snapshot(label_set))


def commit_assignments(settings: Settings, snapshot_id: int, rows: pl.DataFrame) -> None:
    """Write the rows of a snapshot that is being built, exactly once."""
    lake = Lake.of(settings)
    frame = rows.with_columns(pl.lit(snapshot_id, pl.Int64).alias("snapshot_id"))
    if lake.append("assignments", frame, Commit(app=f"snapshot-{snapshot_id}", version=1)):
        return
    # Written by an interrupted attempt. After `jobs retry --from-start` the scores may differ.
    written = lake.scan("assignments", snapshot_id=snapshot_id).select(rows.columns).collect()
    if not written.sort("user_key").equals(rows.sort("user_key")):
        lake.replace_partition("assignments", frame, "snapshot_id", str(snapshot_id))


def make_current(
    session: Session,
    snapshot_id: int,
    facts: SnapshotFacts,
    summaries: Sequence[Json],
    *,
    arrived: Arrived | None = None,
) -> SegmentSnapshot:
    """Publish a snapshot whose rows are in the lake, and make it the current one of its label set.

    Args:
        session: of the transaction that publishes it.
        snapshot_id: its number.
        facts: what is stored with it.
        summaries: of its segments.
        arrived: the events that it adds, whose freshness is stored; ``None``: not known.

    Raises:
        StorageError: it was published or another snapshot became current in the meantime; nothing was written.
    """
    snapshot = session.get_one(SegmentSnapshot, snapshot_id)
    if snapshot.state == SnapshotState.PUBLISHED:
        raise StorageError(f"Snapshot {snapshot_id} was published meanwhile; trying again")
    for name, value in asdict(facts).items():
        setattr(snapshot, name, value)
    snapshot.state, snapshot.published_at = SnapshotState.PUBLISHED, now(session)
    snapshot.freshness = arrived.freshness(snapshot.published_at).as_json() if arrived is not None else {}
    session.add(snapshot)
    session.add_all([SegmentSummary(snapshot_id=snapshot_id, **row) for row in summaries])
    switch_snapshot(session, snapshot.label_set, expected=facts.previous_id, target=snapshot_id)
    return snapshot


def count_corrected(users: pl.DataFrame) -> int:
    """Return the number of users whose segment a person set."""
    return users.filter(pl.col("overridden_by") == Override.CORRECTION).height


def count_moved(before: pl.DataFrame, users: pl.DataFrame) -> int:
    """Return the number of users whose segments differ; both have ``user_key`` and ``segment``."""
    joined = before.join(users.select("user_key", after="segment"), on="user_key")
    return joined.filter(pl.col("segment").ne_missing(pl.col("after"))).height
