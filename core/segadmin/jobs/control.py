"""What people do to jobs: look, cancel, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select, update

from segadmin.database import transaction
from segadmin.errors import InvalidTransition, JobNotFound
from segadmin.jobs.advance import advance, end_job, lock_job, unblock
from segadmin.jobs.locks import in_the_way
from segadmin.jobs.progress import Progress, progress_of
from segadmin.jobs.ring import Ring, ring_steps
from segadmin.records import Job, JobState, Lock, Step, StepState
from segadmin.settings import Settings


@dataclass(frozen=True)
class JobLine:
    """A job in a list."""

    job: Job
    progress: Progress
    waits_for: Lock | None  #: the lock of another job that keeps it from going on


@dataclass(frozen=True)
class JobView(JobLine):
    """A job with its steps, as they are at one moment."""

    steps: Sequence[Step]


def list_jobs(settings: Settings, limit: int = 20, state: JobState | None = None) -> list[JobLine]:
    """Return the newest jobs first."""
    with transaction(settings) as session:
        query = select(Job).order_by(col(Job.id).desc()).limit(limit)
        if state is not None:
            query = query.where(Job.state == state)
        return [_line(session, job) for job in session.exec(query).all()]


def view(settings: Settings, job_id: int) -> JobView:
    """Return one job.

    Raises:
        JobNotFound: there is none with that number.
    """
    with transaction(settings) as session:
        line = _line(session, _job(session, job_id))
        steps = session.exec(select(Step).where(Step.job_id == job_id).order_by(col(Step.id))).all()
        return JobView(line.job, line.progress, line.waits_for, steps)


def cancel(settings: Settings, ring: Ring, job_id: int) -> Job:
    """Cancel a job: waiting steps never start, and a running one stops at its next report of progress.

    Jobs that waited for it go on.

    Raises:
        JobNotFound: there is none with that number.
        InvalidTransition: it is over.
    """
    with transaction(settings) as session:
        _job(session, job_id)
        job = lock_job(session, job_id)
        if job.state.over:
            raise InvalidTransition(f"Job {job_id} is {job.state}: there is nothing to cancel.")
        end_job(session, job, JobState.CANCELLED, "cancelled on request")
    ring_steps(settings, ring, unblock(settings))
    return job


def retry(settings: Settings, ring: Ring, job_id: int, *, from_start: bool = False) -> Job:
    """Run what failed or was cancelled again; what succeeded is kept, unless ``from_start``.

    Raises:
        JobNotFound: there is none with that number.
        InvalidTransition: it has not failed and was not cancelled.
    """
    with transaction(settings) as session:
        _job(session, job_id)
        job = lock_job(session, job_id)
        if job.state not in {JobState.FAILED, JobState.CANCELLED}:
            raise InvalidTransition(
                f"Job {job_id} is {job.state}: only a failed or cancelled job can be retried. "
                "To do the same work anew, enqueue it again."
            )
        again = [StepState.FAILED, StepState.CANCELLED]
        again += [StepState.SUCCEEDED, StepState.SKIPPED] if from_start else []
        session.exec(
            update(Step)
            .where(col(Step.job_id) == job_id, col(Step.state).in_(again))
            .values(
                state=StepState.WAITING,
                attempt=0,
                token=Step.token + 1,
                error=None,
                not_before=None,
                finished_at=None,
                progress=0.0,
                ring_at=None,
                rings=0,
            )
        )
        job.state, job.error, job.finished_at = JobState.QUEUED, None, None
        session.add(job)
        session.flush()
        ready = advance(session, job_id).ready
    ring_steps(settings, ring, ready)
    return job


def _job(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFound(f"There is no job {job_id}. List them: segadmin jobs list")
    return job


def _line(session: Session, job: Job) -> JobLine:
    return JobLine(job, progress_of(session, job), in_the_way(session, job))
