"""Publishes corrections that began or ended, without a worker: a snapshot in which only their users differ."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import Session, col, update

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import StorageError
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.settings import Settings
from segadmin.snapshots.changes import Base, Changes, changes_of
from segadmin.snapshots.feed import write_changes
from segadmin.snapshots.overrides import Overrides
from segadmin.snapshots.publish import (
    SnapshotFacts,
    begin_snapshot,
    commit_assignments,
    count_corrected,
    count_moved,
    make_current,
)
from segadmin.snapshots.read import summaries
from segadmin.snapshots.segment_order import orders_of
from segadmin.snapshots.summary import summarise
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import CORRECT_KIND, Job, JobState, SegmentSnapshot

log = logging.getLogger(__name__)
#: How often it is tried again when another snapshot became current meanwhile.
_ATTEMPTS = 5


def publish_overrides(settings: Settings, label_set: str) -> SegmentSnapshot | None:
    """Publish the corrections of a label set that are not in its current snapshot, and the end of those that are.

    Hold :func:`segadmin.storage.import_lock.users_stay`, so that no user is erased meanwhile.

    Returns:
        The snapshot, or ``None`` if there is nothing to publish, or no snapshot yet.

    Raises:
        StorageError: it could not be published. The next refresh publishes the corrections, too.
    """
    for attempt in range(_ATTEMPTS):
        base = _current(settings, label_set)
        if base is None:
            return None
        try:
            snapshot = _publish(settings, base)
        except StorageError as error:
            if not _is_overtaken(settings, base) or attempt == _ATTEMPTS - 1:
                raise StorageError(
                    f"The correction is stored, but the snapshot could not be published: {error} The next refresh "
                    f"does it: segadmin enqueue refresh --labels {label_set}"
                ) from error
        else:
            _announce(settings, label_set, snapshot)
            return snapshot
    raise AssertionError("the last attempt returns or raises")


def _current(settings: Settings, label_set: str) -> SegmentSnapshot | None:
    with reading(settings) as session:
        number = pointed(session, current_snapshot(label_set))
        return None if number is None else session.get_one(SegmentSnapshot, number)


def _is_overtaken(settings: Settings, base: SegmentSnapshot) -> bool:
    """Whether another snapshot than ``base`` has become current."""
    current = _current(settings, base.label_set)
    return current is None or current.id != base.id


def _publish(settings: Settings, base: SegmentSnapshot) -> SegmentSnapshot | None:
    with reading(settings) as session:
        orders = orders_of(session, base)
        known = {row.segment: row.distinctive for row in summaries(session, base.id or 0)}
    before = Base.read(settings, base)
    overrides = Overrides.read(settings, base.label_set, orders)
    rows = overrides.of_carried(before.rows_of(overrides.concerned(before.users)), release=False)
    if rows.is_empty():
        return None
    with _job(settings, base) as job_id:
        snapshot, previous = begin_snapshot(settings, job_id, base.label_set, base.model_version_id, base.as_of)
        if previous != base.id:
            raise StorageError(f"Snapshot {previous} has become current meanwhile.")
        number = snapshot.id or 0
        users = before.users.select("user_key", "segment")
        changes = changes_of(settings, number, rows.clear(), users, before, rewritten=rows)
        commit_assignments(settings, number, changes.rows)
        facts = _facts(base, changes, count_moved(users, changes.users))
        segments = summarise(changes.users, orders[base.model_version_id], known)
        with transaction(settings) as session:
            snapshot = make_current(session, number, facts, segments)
            _end_job(session, job_id, JobState.SUCCEEDED)
    return snapshot


def _facts(base: SegmentSnapshot, changes: Changes, moved: int) -> SnapshotFacts:
    """Return the facts of a snapshot that was made from what ``base`` was made from."""
    return SnapshotFacts(
        previous_id=base.id,
        earlier_parts=list(changes.earlier_parts),
        users=changes.users.height,
        rescored=0,
        rescored_by={},
        carried=changes.users.height,
        moved=moved,
        lake_versions=base.lake_versions,
        everyone_read_at=base.everyone_read_at,
        newest_event=base.newest_event,
        canary_id=base.canary_id,
        inference=base.inference,
        corrected=count_corrected(changes.users),
    )


@contextmanager
def _job(settings: Settings, base: SegmentSnapshot) -> Iterator[int]:
    """Add the job of a publication; it is cancelled if another snapshot becomes current first, as it is tried again."""
    job_id = _add_job(settings, base.label_set)
    try:
        yield job_id
    except StorageError:
        if _is_overtaken(settings, base):
            with transaction(settings) as session:
                _end_job(session, job_id, JobState.CANCELLED, "Another snapshot became current first.")
        raise


def _add_job(settings: Settings, label_set: str) -> int:
    """Add the job of the publication and return its number; it has failed unless it is ended."""
    with transaction(settings) as session:
        moment = now(session)
        job = Job(
            kind=CORRECT_KIND,
            options={"labels": label_set},
            state=JobState.FAILED,
            error=f"It was interrupted. The next refresh publishes it: segadmin enqueue refresh --labels {label_set}",
            started_at=moment,
            finished_at=moment,
        )
        session.add(job)
        session.flush()
        assert job.id is not None
        return job.id


def _end_job(session: Session, job_id: int, state: JobState, why: str | None = None) -> None:
    done = {"state": state, "error": why, "finished_at": now(session)}
    session.exec(update(Job).where(col(Job.id) == job_id).values(**done))


def _announce(settings: Settings, label_set: str, snapshot: SegmentSnapshot | None) -> None:
    """Write the records of the feed, and call the hooks, as after every publication."""
    if snapshot is None:
        return
    facts = {"snapshot_id": snapshot.id, "moved": snapshot.moved, "corrected": snapshot.corrected}
    log.info("corrections published", extra={"action": "publish", "label_set": label_set, **facts})
    try:
        write_changes(settings, label_set)
    except Exception:  # the snapshot is published; the next publication or delivery writes them
        log.exception("the changes could not be written", extra={"action": "feed", "label_set": label_set})
    load_plugins(settings).announce("snapshot_published", snapshot=snapshot)
