"""The ``publish`` stage: all scores become one snapshot, at once or not at all.

The rows enter the lake in one commit under a number that nobody reads yet; the SQL transaction that finishes the
step makes it the current snapshot. A publish that was cut off anywhere can simply run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from sqlmodel import Session, select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import StorageError
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.models.aliases import current_snapshot, point, pointed
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments
from segadmin.snapshots.summary import summarise
from segadmin.storage.database import now, transaction
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import SegmentSnapshot, SegmentSummary, SnapshotState
from segadmin.workflows.prepared import Prepared

Json = dict[str, Any]


def publish(attempt: Attempt) -> Outcome:
    """Put the scores in the lake as one snapshot and make it the current one of its label set."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    steps = attempt.inputs["score"]
    snapshot, previous = _begin(attempt, prepared)
    number = snapshot.id
    assert number is not None and prepared.scoring is not None
    if snapshot.state == SnapshotState.PUBLISHED:
        return Outcome(_facts(snapshot))
    users = pl.concat([attempt.read(step["scores"]) for step in steps])
    attempt.progress(0.3, "writing the assignments")
    commit_assignments(attempt.settings, number, users)
    attempt.reach("publish")
    attempt.progress(0.6, "summing up")
    rows = summarise(Lake.of(attempt.settings, prepared.lake), users, prepared.segments, prepared.scoring)
    facts = {
        "previous_id": previous,
        "users": users.height,
        "rescored": sum(step["rescored"] for step in steps),
        "carried": sum(step["carried"] for step in steps),
        "moved": _moved(attempt.settings, users, previous),
    }
    published: list[SegmentSnapshot] = []

    def commit(session: Session) -> Json:
        published[:] = [_publish(session, number, facts, rows)]
        return _facts(published[0])

    def after() -> None:
        load_plugins(attempt.settings).announce("snapshot_published", snapshot=published[0])

    return Outcome({}, commit=commit, after=after)


def commit_assignments(settings: Settings, snapshot_id: int, users: pl.DataFrame) -> None:
    """Write the rows of a snapshot that is being built, exactly once."""
    lake = Lake.of(settings)
    frame = users.with_columns(pl.lit(snapshot_id, pl.Int64).alias("snapshot_id"))
    if lake.append("assignments", frame, Commit(app=f"snapshot-{snapshot_id}", version=1)):
        return
    # Written by an attempt that was cut off. After `jobs retry --from-start` the scores may be others by now.
    there = assignments(settings, snapshot_id).select(users.columns).collect()
    if not there.sort("user_key").equals(users.sort("user_key")):
        lake.replace_partition("assignments", frame, "snapshot_id", str(snapshot_id))


def _begin(attempt: Attempt, prepared: Prepared) -> tuple[SegmentSnapshot, int | None]:
    """Return this job's snapshot, made the first time, and the number of the one that is current now."""
    version_id = prepared.model_version_id or attempt.input("gate")["model_version_id"]
    assert prepared.scoring is not None
    with transaction(attempt.settings) as session:
        snapshot = session.exec(select(SegmentSnapshot).where(SegmentSnapshot.job_id == attempt.job_id)).first()
        if snapshot is None:
            snapshot = SegmentSnapshot(
                label_set=prepared.label_set,
                model_version_id=version_id,
                job_id=attempt.job_id,
                as_of=prepared.scoring.as_of,
            )
        if snapshot.state == SnapshotState.BUILDING:  # begun by an earlier try, perhaps of another model
            snapshot.model_version_id, snapshot.as_of = version_id, prepared.scoring.as_of
            session.add(snapshot)
            session.flush()
        return snapshot, pointed(session, current_snapshot(prepared.label_set))


def _publish(session: Session, snapshot_id: int, facts: Json, rows: Sequence[Json]) -> SegmentSnapshot:
    snapshot = session.get_one(SegmentSnapshot, snapshot_id)
    if snapshot.state == SnapshotState.PUBLISHED:
        raise StorageError(f"Snapshot {snapshot_id} was published meanwhile; trying again")
    for name, value in facts.items():
        setattr(snapshot, name, value)
    snapshot.state, snapshot.published_at = SnapshotState.PUBLISHED, now(session)
    session.add(snapshot)
    session.add_all([SegmentSummary(snapshot_id=snapshot_id, **row) for row in rows])
    name = current_snapshot(snapshot.label_set)
    point(session, name, expected=facts["previous_id"], target=snapshot_id)
    return snapshot


def _moved(settings: Settings, users: pl.DataFrame, previous: int | None) -> int:
    """Return how many users are in another segment than before."""
    if previous is None:
        return 0
    before = assignments(settings, previous).select("user_key", pl.col("segment").alias("before"))
    both = before.join(users.lazy().select("user_key", "segment"), on="user_key")
    moved: int = both.filter(pl.col("before").ne_missing(pl.col("segment"))).select(pl.len()).collect().item()
    return moved


def _facts(snapshot: SegmentSnapshot) -> Json:
    names = ("users", "rescored", "carried", "moved")
    return {"snapshot_id": snapshot.id, **{name: getattr(snapshot, name) for name in names}}
