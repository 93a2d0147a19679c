"""Claiming a step and holding on to it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, or_, select, update

from segadmin.database import now, transaction
from segadmin.errors import StorageError
from segadmin.jobs.advance import lock_job
from segadmin.jobs.attempt import Attempt
from segadmin.records import Job, JobState, Step, StepState
from segadmin.settings import Settings

log = logging.getLogger(__name__)


def claim(settings: Settings, step_id: int, worker: str) -> Attempt | None:
    """Take a step by compare-and-set; ``None`` if it is not to be had (done, taken, cancelled, not due yet).

    A step may be taken when it is ready, or when its worker let the lease run out. Either way its token goes
    up, so whatever the last holder still does with its own token touches nothing.
    """
    with transaction(settings) as session:
        found = session.get(Step, step_id)
        if found is None:
            return None
        lock_job(session, found.job_id)  # always the job before its steps, or two transactions could wait in a ring
        moment = now(session)
        taken = session.exec(
            update(Step)
            .where(
                col(Step.id) == step_id,
                col(Step.attempt) < col(Step.max_attempts),
                or_(
                    and_(
                        col(Step.state) == StepState.READY,
                        or_(col(Step.not_before).is_(None), col(Step.not_before) <= moment),
                    ),
                    and_(col(Step.state) == StepState.RUNNING, col(Step.lease_until) < moment),
                ),
            )
            .values(
                state=StepState.RUNNING,
                attempt=Step.attempt + 1,
                token=Step.token + 1,
                worker=worker,
                lease_until=moment + timedelta(seconds=settings.lease_seconds),
                started_at=moment,
                progress=0.0,
                note="",
            )
        )
        if taken.rowcount == 0:
            return None
        step = session.get_one(Step, step_id, populate_existing=True)
        job = session.get_one(Job, step.job_id)
        session.exec(
            update(Job)
            .where(col(Job.id) == job.id, col(Job.state) == JobState.QUEUED)
            .values(state=JobState.RUNNING, started_at=moment)
        )
        return _attempt(session, settings, step, job)


def _attempt(session: Session, settings: Settings, step: Step, job: Job) -> Attempt:
    done = session.exec(
        select(Step)
        .where(Step.job_id == job.id, Step.state == StepState.SUCCEEDED)
        .order_by(col(Step.stage), col(Step.bucket_from))
    ).all()
    inputs: dict[str, list[dict[str, object]]] = {}
    for other in done:
        inputs.setdefault(other.stage, []).append(other.result)
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
        inputs=inputs,
    )


def extend(attempt: Attempt) -> bool:
    """Extend the lease and store the progress; ``False`` when the step is somebody else's now."""
    fraction, note = attempt.latest
    with transaction(attempt.settings) as session:
        until = now(session) + timedelta(seconds=attempt.settings.lease_seconds)
        held = session.exec(update(Step).where(*owned(attempt)).values(lease_until=until, progress=fraction, note=note))
        return bool(held.rowcount)


def owned(attempt: Attempt) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which ``attempt`` still owns its step; every write of it carries them."""
    return (
        col(Step.id) == attempt.step_id,
        col(Step.token) == attempt.token,
        col(Step.state) == StepState.RUNNING,
    )


@contextmanager
def heartbeat(attempt: Attempt) -> Iterator[None]:
    """Keep the lease from running out while the body works.

    When the step is lost, or the database has not answered for as long as a lease lasts, ``attempt.lost`` is
    set and the next ``attempt.progress(…)`` raises.
    """
    stop = threading.Event()

    def beat() -> None:
        good_until = time.monotonic() + attempt.settings.lease_seconds
        while not stop.wait(attempt.settings.heartbeat_seconds):
            try:
                if not extend(attempt):
                    attempt.lost.set()
                    return
                good_until = time.monotonic() + attempt.settings.lease_seconds
            except StorageError as error:
                log.warning("heartbeat failed", extra={"action": "heartbeat", "step": attempt.step_id, "error": error})
                if time.monotonic() > good_until:
                    attempt.lost.set()
                    return

    thread = threading.Thread(target=beat, name=f"heartbeat-{attempt.step_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
