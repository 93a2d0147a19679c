"""Moving a job on. Idempotent: called once too often, it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlmodel import Session, col, select, update

from segadmin.database import now
from segadmin.records import Job, JobState, Step, StepState


@dataclass
class Advanced:
    """What moved: steps to ring for, and the job if this ended it."""

    ready: list[int] = field(default_factory=list)
    ended: Job | None = None


def lock_job(session: Session, job_id: int) -> Job:
    """Return the job, locked: of two steps that finish at once, the second must see the first."""
    return session.exec(
        select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def advance(session: Session, job_id: int) -> Advanced:
    """Ready the steps whose inputs are done; end the job when all steps are."""
    job = lock_job(session, job_id)
    if job.state.over:
        return Advanced()
    session.flush()
    steps = session.exec(
        select(Step).where(Step.job_id == job_id).order_by(col(Step.id)).execution_options(populate_existing=True)
    ).all()
    unfinished = {step.stage for step in steps if not step.state.done}
    if not unfinished:
        job.state, job.finished_at = JobState.SUCCEEDED, now(session)
        session.add(job)
        return Advanced(ended=job)
    ready = [step for step in steps if step.state == StepState.WAITING and not unfinished & set(step.after)]
    for step in ready:
        step.state = StepState.READY
        session.add(step)
    return Advanced(ready=[step.id for step in ready if step.id is not None])


def fail_job(session: Session, job: Job, reason: str) -> Advanced:
    """End the job as failed, and take its other steps away from whoever works on them."""
    end_job(session, job, JobState.FAILED, reason)
    return Advanced(ended=job)


def end_job(session: Session, job: Job, state: JobState, reason: str | None) -> None:
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
