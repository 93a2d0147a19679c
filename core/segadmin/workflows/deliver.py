"""``deliver``: writes the records of the feed that are missing, and brings them to the configured feeds."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Self
from urllib.parse import quote

from pydantic import Field
from sqlmodel import Session, col, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.jobs.attempt import Attempt, StageOutput, StageResult
from segadmin.jobs.dispatch import Dispatch
from segadmin.jobs.enqueue import DELIVER_KEY, enqueue
from segadmin.jobs.registry import Request, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.storage.records import ConfiguredFeed, Job, JobState, SnapshotSwitch

#: How long the worker that published has for writing the records itself, and the pause after a job that failed.
PAUSE = timedelta(minutes=1)


class Deliver(Request):
    """Options of ``deliver``."""

    labels: str = Field(description="The label set whose changes are delivered.")
    at_once: bool = Field(False, description="Deliver also to feeds that wait for their next attempt.")

    def completed(self, settings: Settings) -> Self:
        """Return the request, if the label set has snapshots."""
        from segadmin.snapshots.read import currents

        with reading(settings) as session:
            known = currents(session)
        if self.labels not in known:
            raise ConfigurationError(f"There is no snapshot for {self.labels!r}.{did_you_mean(self.labels, known)}")
        return self


class DeliverOutput(StageOutput):
    """What was delivered."""

    stage: ClassVar[str] = "deliver"

    delivered: dict[str, int]  #: feed → records


def deliver(attempt: Attempt) -> StageResult:
    """Deliver what is not delivered yet; a feed whose receiver fails is tried again by a later job.

    If the process that made a snapshot current was killed, corrections may be missing in it, as after a promotion.
    """
    from segadmin.snapshots.corrections import keep_corrections
    from segadmin.snapshots.delivery import deliver_changes
    from segadmin.snapshots.feed import write_changes

    request = Deliver.model_validate(attempt.options)
    with reading(attempt.settings) as session:
        was_interrupted = request.labels in session.exec(_unwritten(session)).all()
    if was_interrupted:
        keep_corrections(attempt.settings, request.labels)
    write_changes(attempt.settings, request.labels)
    delivered = deliver_changes(
        attempt.settings, request.labels, lambda note: attempt.progress(0.5, note), at_once=request.at_once
    )
    return StageResult(DeliverOutput(delivered=delivered))


register(
    Workflow(
        "deliver",
        Deliver,
        (Stage("deliver", deliver, holds="feed"),),
        "Deliver who entered, left or moved between segments to the configured feeds.",
    )
)


def enqueue_deliveries(settings: Settings, dispatch: Dispatch) -> list[Job]:
    """Enqueue a delivery for each label set that has something to deliver, unless one is queued or running.

    The key of a job names the one before, so that of two beats only one enqueues it.
    """
    with reading(settings) as session:
        due = {label_set: _last(session, label_set) for label_set in _due(session)}
        moment = now(session)
    jobs = []
    for label_set, last in due.items():
        if last is not None and not last.state.over:
            continue
        if last is not None and last.state == JobState.FAILED:
            ago = moment - (last.finished_at or moment)
            if timedelta() <= ago < PAUSE:  # before: the clock was set back
                continue
        key = f"{_key(label_set)}{last.id if last is not None else 0}"
        options = Deliver(labels=label_set).model_dump(mode="json")
        jobs.append(enqueue(settings, dispatch, "deliver", options, idempotency_key=key).job)
    return jobs


def _due(session: Session) -> list[str]:
    """Return the label sets with records that are to be written or delivered."""
    from segadmin.snapshots.delivery import may_try

    newest = dict(
        session.exec(
            select(SnapshotSwitch.label_set, func.max(SnapshotSwitch.id)).group_by(SnapshotSwitch.label_set)
        ).all()
    )
    sizes = dict(
        session.exec(
            select(SnapshotSwitch.id, SnapshotSwitch.changes).where(col(SnapshotSwitch.id).in_(newest.values()))
        ).all()
    )
    moment = now(session)
    due = set(session.exec(_unwritten(session)).all())
    for feed in session.exec(select(ConfiguredFeed).where(may_try(moment))).all():
        last = newest.get(feed.label_set, 0)
        is_behind = (feed.sequence, feed.position) < (last, sizes.get(last) or 0)
        if is_behind:
            due.add(feed.label_set)
    return sorted(due)


def _unwritten(session: Session) -> SelectOfScalar[str]:
    """Return the query for label sets with records that whoever changed the current snapshot has not written by now."""
    moment, created_at = now(session), col(SnapshotSwitch.created_at)
    is_old = or_(created_at < moment - PAUSE, created_at > moment + PAUSE)  # after: the clock was set back
    return select(SnapshotSwitch.label_set).where(col(SnapshotSwitch.changes).is_(None), is_old).distinct()


def _last(session: Session, label_set: str) -> Job | None:
    """Return the newest delivery that beat enqueued for a label set."""
    key = col(Job.idempotency_key).startswith(_key(label_set), autoescape=True)
    return session.exec(select(Job).where(Job.kind == "deliver", key).order_by(col(Job.id).desc()).limit(1)).first()


def _key(label_set: str) -> str:
    """Return how the keys of the deliveries of a label set begin; the keys of no other one do."""
    return f"{DELIVER_KEY}{quote(label_set, safe='')}:"
