"""Finding what fell through: leases that ran out, rings that were lost, jobs that nobody moved on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select, update

from segadmin.database import now, transaction
from segadmin.jobs.advance import advance, fail_job, lock_job
from segadmin.jobs.ring import Ring, ring_steps
from segadmin.records import Job, JobState, Step, StepState
from segadmin.settings import Settings

#: A ready step is rung for again after this many seconds, then after twice as many, up to the limit: the ring
#: may be lost (a Redis that came back empty), or the queue may only be long.
RING_AGAIN, RING_AGAIN_LIMIT = 10.0, 300.0


@dataclass(frozen=True)
class Reaped:
    """What was found."""

    expired: int  #: steps whose lease had run out
    rung: int  #: ready steps that were rung for again
    failed: int  #: jobs that ended because a step had no attempt left


def reap(settings: Settings, ring: Ring) -> Reaped:
    """Do it once. Safe to run anywhere, any number of times, also at the same moment."""
    with transaction(settings) as session:
        moment = now(session)
        running = session.exec(
            select(Job.id).where(col(Job.state).in_([JobState.QUEUED, JobState.RUNNING])).order_by(col(Job.id))
        ).all()
    expired = failed = 0
    due: list[int] = []
    for job_id in running:
        assert job_id is not None
        with transaction(settings) as session:
            job = lock_job(session, job_id)
            lost = [step for step in _steps(session, job_id, StepState.RUNNING) if _expired(step, moment)]
            expired += len(lost)
            dead = next((step for step in lost if step.attempt >= step.max_attempts), None)
            if dead is not None and not job.state.over:
                _fail(session, job, dead)
                failed += 1
                continue
            for step in lost:
                _take_back(session, step)
            advance(session, job_id)
            due += [step.id or 0 for step in _steps(session, job_id, StepState.READY) if _unheard(step, moment)]
    ring_steps(settings, ring, due)
    return Reaped(expired, len(due), failed)


def _steps(session: Session, job_id: int, state: StepState) -> list[Step]:
    session.flush()
    query = select(Step).where(Step.job_id == job_id, Step.state == state).order_by(col(Step.id))
    return list(session.exec(query.execution_options(populate_existing=True)).all())


def _expired(step: Step, moment: datetime) -> bool:
    return step.lease_until is not None and step.lease_until < moment


def _unheard(step: Step, moment: datetime) -> bool:
    if step.not_before is not None and step.not_before > moment:
        return False
    if step.rung_at is None:
        return True
    wait = min(RING_AGAIN * 2 ** max(step.rings - 1, 0), RING_AGAIN_LIMIT)
    return step.rung_at + timedelta(seconds=wait) <= moment


def _take_back(session: Session, step: Step) -> None:
    session.exec(
        update(Step)
        .where(col(Step.id) == step.id, col(Step.token) == step.token, col(Step.state) == StepState.RUNNING)
        .values(
            state=StepState.READY,
            token=Step.token + 1,
            lease_until=None,
            rung_at=None,
            rings=0,
            error=_silence(step),
        )
    )


def _fail(session: Session, job: Job, step: Step) -> None:
    step.state, step.error, step.token = StepState.FAILED, _silence(step), step.token + 1
    step.finished_at = now(session)
    session.add(step)
    fail_job(session, job, f"{step.stage}: {step.error}")


def _silence(step: Step) -> str:
    return (
        f"the worker {step.worker} stopped answering (attempt {step.attempt} of {step.max_attempts}); "
        "if it was out of memory, the kernel's log says so"
    )
