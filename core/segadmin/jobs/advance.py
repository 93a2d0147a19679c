"""Advancing a job. Idempotent: called once too often, it changes nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from sqlmodel import Session, col, func, select, update

from segadmin.jobs import locks
from segadmin.jobs.dispatch import StepMessage, messages_for
from segadmin.jobs.registry import workflows
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, Step, StepState

log = logging.getLogger(__name__)
#: States of a step that the stages after it wait for. A failed one of a job that goes on is of a stage that may fail.
_OPEN = [state for state in StepState if not state.done and state != StepState.FAILED]


@dataclass
class Advanced:
    """What moved: the steps that are ready now, and the job if this ended it."""

    ready: list[StepMessage] = field(default_factory=list)  #: to be sent once that is committed
    ended: Job | None = None
    freed: bool = False  #: whether it let go of a lock, for which other jobs may wait


def lock_job(session: Session, job_id: int) -> Job:
    """Return the job, locked: of two steps that finish at once, the second must see the first."""
    return session.exec(
        select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def advance(session: Session, job: Job) -> Advanced:
    """Ready the steps whose inputs are done and whose locks are free; end the job when all steps are done.

    ``job`` is locked (:func:`lock_job`), or new.
    """
    if job.state.over:
        return Advanced()
    session.flush()
    unfinished = dict(
        session.exec(
            select(Step.stage, func.min(Step.id))
            .where(Step.job_id == job.id, col(Step.state).in_(_OPEN))
            .group_by(Step.stage)
        ).all()
    )
    if not unfinished:
        job.state, job.finished_at = JobState.SUCCEEDED, now(session)
        session.add(job)
        return Advanced(ended=job, freed=locks.release(session, job))
    firsts = session.exec(select(Step).where(col(Step.id).in_(unfinished.values())).order_by(col(Step.id))).all()
    ready: list[StepMessage] = []
    for first in firsts:  # one step stands for its stage: they wait for the same
        if not unfinished.keys() & set(first.after):
            ready += _ready(session, job, first.stage)
    return Advanced(ready=ready, freed=locks.release_unneeded(session, job, unfinished))


def stage_is_open(session: Session, job_id: int, stage: str) -> bool:
    """Return whether a step of ``stage`` is not done: then nothing after it can start, and nobody need look."""
    undone = select(Step.id).where(Step.job_id == job_id, col(Step.state).in_(_OPEN), Step.stage == stage)
    return session.exec(undone.limit(1)).first() is not None


def unblock(settings: Settings) -> list[StepMessage]:
    """Advance the jobs that wait for a lock which is free now; return the messages of their steps."""
    with reading(settings) as session:
        waiting = locks.stalled(session)
    ready: list[StepMessage] = []
    for job_id in waiting:
        with transaction(settings) as session:
            ready += advance(session, lock_job(session, job_id)).ready
    return ready


def fail_stage(session: Session, job: Job, stage: str, reason: str, *, lost: bool = False) -> Advanced:
    """Go on from a step that failed for good: its job fails too, unless the stage may fail.

    Args:
        session: of the transaction in which the step failed.
        job: of the step.
        stage: of the step.
        reason: why it failed.
        lost: whether its processes died, without an error.
    """
    workflow, why = workflows().get(job.kind), f"{stage}: {reason}"
    if workflow is None or not (declared := workflow.stage(stage)).may_fail:
        return fail_job(session, job, why)
    if declared.failed is not None:
        declared.failed(session, job, lost=lost)
    job.error = why if job.error is None else f"{job.error}; {why}"
    session.add(job)
    return advance(session, job)


def fail_job(session: Session, job: Job, reason: str) -> Advanced:
    """End the job as failed, and take its other steps away from the workers that run them."""
    return end_job(session, job, JobState.FAILED, reason)


def end_job(session: Session, job: Job, state: JobState, reason: str | None) -> Advanced:
    """End a job; steps that are not over are cancelled, and running ones lose their token."""
    job.state, job.error, job.finished_at = state, reason, now(session)
    session.add(job)
    session.flush()
    session.exec(
        update(Step)
        .where(
            col(Step.job_id) == job.id,
            col(Step.state).in_([StepState.WAITING, StepState.READY, StepState.RUNNING]),
        )
        .values(state=StepState.CANCELLED, token=Step.token + 1, lease_until=None, finished_at=job.finished_at)
    )
    return Advanced(ended=job, freed=locks.release(session, job))


def log_ended(job: Job) -> None:
    """Log that a job is over."""
    seconds = (job.finished_at - job.created_at).total_seconds() if job.finished_at else None
    facts = {"action": "end", "job": job.id, "kind": job.kind, "state": str(job.state), "seconds": seconds}
    log.info("job ended", extra=facts)


def _ready(session: Session, job: Job, stage: str) -> list[StepMessage]:
    waiting = (col(Step.job_id) == job.id, col(Step.stage) == stage, col(Step.state) == StepState.WAITING)
    step_ids = session.exec(select(Step.id).where(*waiting).order_by(col(Step.id))).all()
    if not step_ids or not locks.take(session, job, stage):
        return []
    ready = update(Step).where(*waiting).values(state=StepState.READY, rung_at=None)
    session.exec(ready.execution_options(synchronize_session=False))  # of thousands, none is read from this session
    return messages_for(session, [step_id for step_id in step_ids if step_id is not None])
