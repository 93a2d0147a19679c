"""Claiming a step and holding on to it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case
from sqlmodel import and_, col, or_, select, update

from segadmin.errors import (
    ConfigurationError,
    DatabaseDamaged,
    SegadminError,
    StepFenced,
    StorageError,
    StoreMissing,
)
from segadmin.jobs.attempt import Attempt, Json
from segadmin.jobs.peak_memory import PeakMemory
from segadmin.jobs.resource_limits import Limits
from segadmin.learning_curve import Curve
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, Step, StepState
from segadmin.storage.store import check_known

log = logging.getLogger(__name__)
#: How often a running step's time and memory are looked at.
_LOOK_SECONDS = 0.25
#: Heartbeats for which the body of a lost step may go on.
_GRACE_BEATS = 3


def claim(settings: Settings, step_id: int, worker: str) -> Attempt | None:
    """Take a step by compare-and-set; ``None`` if it is not to be had (done, taken, cancelled, not due yet).

    A step may be taken when it is ready, or when its worker let the lease run out. Either way its token goes
    up, so whatever the last holder still does with its own token touches nothing.
    """
    with transaction(settings) as session:
        # The job is locked before its steps, always, or two could wait for each other.
        job = session.exec(select(Job).join(Step).where(Step.id == step_id).with_for_update(of=Job)).one_or_none()
        if job is None:
            return None
        moment = now(session)
        take = (
            update(Step)
            .where(
                col(Step.id) == step_id,
                col(Step.attempt) < col(Step.max_attempts),
                or_(
                    and_(
                        col(Step.state) == StepState.READY,
                        or_(col(Step.not_before).is_(None), col(Step.not_before) <= moment),
                    ),
                    and_(col(Step.state) == StepState.RUNNING, has_expired(settings, moment)),
                ),
            )
            .values(
                state=StepState.RUNNING,
                attempt=Step.attempt + 1,
                token=Step.token + 1,
                worker=worker,
                lease_until=moment + timedelta(seconds=settings.lease_seconds),
                started_at=moment,
                note="",
                calling="",
            )
            .returning(Step)
            .execution_options(synchronize_session=False)  # nothing of it was read before
        )
        step = session.scalars(take).one_or_none()
        if step is None:
            return None
        if job.state == JobState.QUEUED:
            job.state, job.started_at = JobState.RUNNING, moment
            session.add(job)
        return _attempt(settings, step, job)


@dataclass(frozen=True)
class Inputs(Mapping[str, list[Json]]):
    """What the stages that are done found, read when it is asked for: a step may come after thousands."""

    settings: Settings
    job_id: int

    def __getitem__(self, stage: str) -> list[Json]:
        """Return the results of a stage, in bucket order."""
        with reading(self.settings) as session:
            done = select(Step.result).where(Step.stage == stage, *self._done).order_by(col(Step.bucket_from))
            if results := [dict(result) for result in session.exec(done).all()]:
                return results
        raise KeyError(stage)

    def __iter__(self) -> Iterator[str]:
        with reading(self.settings) as session:
            return iter(session.exec(select(Step.stage).where(*self._done).distinct()).all())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def _done(self) -> tuple[ColumnElement[bool], ...]:
        return (col(Step.job_id) == self.job_id, col(Step.state) == StepState.SUCCEEDED)


def _attempt(settings: Settings, step: Step, job: Job) -> Attempt:
    assert step.id is not None and job.id is not None
    return Attempt(
        settings=settings,
        job_id=job.id,
        job_kind=job.kind,
        options=job.options,
        step_id=step.id,
        stage=step.stage,
        buckets=range(step.bucket_from, step.bucket_to + 1) if step.bucket_from >= 0 else range(0),
        number=step.attempt,
        token=step.token,
        inputs=Inputs(settings, job.id),
        curve=Curve.of(step.curve),
        lease_until=time.monotonic() + settings.lease_seconds,
    )


def extend(attempt: Attempt) -> bool:
    """Extend the lease and store progress and curve; ``False`` when the step is somebody else's now.

    Progress is the furthest that any attempt came: a job's percentage does not go back when a step is tried again.
    """
    fraction, note = attempt.latest
    here = time.monotonic() + attempt.settings.lease_seconds  # before asking: it may take a while to be answered
    with transaction(attempt.settings) as session:
        until = now(session) + timedelta(seconds=attempt.settings.lease_seconds)
        furthest = case((col(Step.progress) > fraction, Step.progress), else_=fraction)
        values = {"lease_until": until, "progress": furthest, "note": note, "calling": attempt.calling}
        values |= attempt.measured
        held = session.exec(update(Step).where(*owned(attempt)).values(**values))
    if held.rowcount:
        attempt.lease_until = here
    return bool(held.rowcount)


def has_expired(settings: Settings, moment: datetime) -> ColumnElement[bool]:
    """Return the condition under which the lease of a running step has run out.

    One that was taken in the future is from before the clock was set back; its worker would have extended it since.
    """
    in_future = moment + timedelta(seconds=settings.lease_seconds)
    is_of_other_clock = and_(col(Step.started_at) > in_future, col(Step.lease_until) > col(Step.started_at))
    return or_(col(Step.lease_until) < moment, is_of_other_clock)


def owned(attempt: Attempt) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which ``attempt`` still owns its step; every write of it carries them."""
    return (
        col(Step.id) == attempt.step_id,
        col(Step.token) == attempt.token,
        col(Step.state) == StepState.RUNNING,
    )


@contextmanager
def heartbeat(attempt: Attempt, give_up: Callable[[SegadminError], None]) -> Iterator[None]:
    """Keep the lease from running out while the body works, and see that it stays within its limits.

    When the step is lost, the database is damaged or has not answered for as long as a lease lasts, or the store is
    gone, the next ``attempt.progress(…)`` raises. A body that is over a limit, or waits for a query while its job is
    cancelled, may never ask for progress: ``give_up`` is called, in another thread than the body's.
    """
    stop, attempt.memory = threading.Event(), PeakMemory()
    beat = copy_context().run  # what the thread logs is of this step too
    thread = threading.Thread(
        target=beat, args=(_beat, attempt, stop, give_up), name=f"heartbeat-{attempt.step_id}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(attempt: Attempt, stop: threading.Event, give_up: Callable[[SegadminError], None]) -> None:
    limits = Limits.of(attempt.settings)
    due = time.monotonic() + attempt.settings.heartbeat_seconds
    while not stop.wait(min(_LOOK_SECONDS, attempt.settings.heartbeat_seconds)):
        if attempt.memory is not None:
            attempt.memory.look()
        if (exceeded := limits.exceeded(attempt.calling)) is not None:
            give_up(exceeded)
            return
        if time.monotonic() < due:
            continue
        due = time.monotonic() + attempt.settings.heartbeat_seconds
        try:
            if not extend(attempt):
                attempt.lost.set()
                if not stop.wait(_GRACE_BEATS * attempt.settings.heartbeat_seconds):
                    give_up(StepFenced(f"attempt {attempt.number} of step {attempt.step_id} lost it and went on"))
                return
            check_known(attempt.settings)
        except (DatabaseDamaged, StoreMissing, ConfigurationError) as error:
            log.error("%s", error, extra={"action": "heartbeat"})  # noqa: TRY400
            attempt.broken = error
            return
        except StorageError as error:
            log.warning("heartbeat failed", extra={"action": "heartbeat", "error": error})
