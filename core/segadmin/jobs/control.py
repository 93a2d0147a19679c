"""What people do with jobs: list, show, cancel, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, or_, select, update

from segadmin.errors import InvalidTransition, JobNotFound
from segadmin.jobs.advance import advance, end_job, lock_job, log_ended, unblock
from segadmin.jobs.dispatch import Dispatch, dispatch_messages
from segadmin.jobs.locks import blocking_locks
from segadmin.jobs.lost_outputs import LostOutput, LostOutputs, lost_outputs
from segadmin.jobs.progress import Progress, progress_of
from segadmin.jobs.selection import ALL, JobSelection, newest_jobs
from segadmin.jobs.stages import stages_of
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import is_row_number, reading, transaction
from segadmin.storage.records import CORRECT_KIND, Job, JobState, Lock, Step, StepState

#: The error of a job that was cancelled, and messages about jobs.
CANCELLED = "cancelled on request"
NO_JOB = "There is no job {}. List them: segadmin jobs list"
IS_OVER = "Job {} is {}: there is nothing to cancel."
#: Jobs that are read at one time: databases limit the number of values in a query.
_PAGE = 500


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


def list_jobs(
    settings: Settings,
    limit: int = 20,
    selection: JobSelection = ALL,
    before: int | None = None,
) -> list[JobLine]:
    """Return the newest jobs first: at most ``limit`` of a ``selection``, older than ``before``."""
    lines: list[JobLine] = []
    with reading(settings) as session:
        while len(lines) < limit:
            page = session.exec(newest_jobs(selection, min(limit - len(lines), _PAGE), before)).all()
            if not page:
                break
            lines += _lines(session, page)
            before = page[-1].id
    return lines


def view(settings: Settings, job_id: int) -> JobView:
    """Return one job.

    Raises:
        JobNotFound: there is none with that number.
    """
    with reading(settings) as session:
        [line] = _lines(session, [_job(session, job_id)])
        steps = session.exec(select(Step).where(Step.job_id == job_id).order_by(col(Step.id))).all()
        return JobView(line.job, line.progress, line.waits_for, steps)


def cancel(settings: Settings, dispatch: Dispatch, job_id: int) -> Job:
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
            raise InvalidTransition(IS_OVER.format(job_id, job.state))
        before = job.state
        ended = end_job(session, job, JobState.CANCELLED, CANCELLED)
        session.add(entry("jobs.cancel", f"job {job_id}", before=before, after=job.state))
    log_ended(job)
    dispatch_messages(settings, dispatch, unblock(settings) if ended.freed else [])
    return job


@dataclass(frozen=True)
class Retried:
    """A job that continues."""

    job: Job
    lost: Sequence[LostOutput]  #: outputs that are gone or damaged; their steps and the stages after them run again


def retry(settings: Settings, dispatch: Dispatch, job_id: int, *, from_start: bool = False) -> Retried:
    """Run what failed or was cancelled again, and what lost its output; the rest is kept, unless ``from_start``.

    Raises:
        JobNotFound: there is none with that number.
        InvalidTransition: neither it nor a stage of it has failed, and it was not cancelled.
        StorageError: outputs cannot be looked for, because the store is not in its folder.
    """
    with reading(settings) as session:
        _retryable(_job(session, job_id))
    lost = LostOutputs() if from_start else lost_outputs(settings, job_id)  # may take long, so outside a transaction
    with transaction(settings) as session:
        job = lock_job(session, job_id)
        _retryable(job)
        again = [StepState.FAILED, StepState.CANCELLED]
        again += [StepState.SUCCEEDED, StepState.SKIPPED] if from_start else []
        session.exec(
            update(Step)
            .where(col(Step.job_id) == job_id, or_(col(Step.state).in_(again), lost.steps))
            .values(
                state=StepState.WAITING,
                attempt=0,
                token=Step.token + 1,
                error=None,
                not_before=None,
                finished_at=None,
                progress=0.0,
            )
        )
        before = job.state
        job.state, job.error, job.finished_at = JobState.QUEUED, None, None
        session.add(entry("jobs.retry", f"job {job_id}", before=before, after=job.state, from_start=from_start))
        session.add(job)
        session.flush()
        ready = advance(session, job).ready
    dispatch_messages(settings, dispatch, ready)
    return Retried(job, lost.outputs)


def _retryable(job: Job) -> None:
    if job.kind == CORRECT_KIND:
        raise InvalidTransition(
            f"Job {job.id} has no steps: it stands for the publication of corrections. A refresh publishes them, too: "
            f"segadmin enqueue refresh --labels {job.options.get('labels', '')}"
        )
    if job.state not in {JobState.FAILED, JobState.CANCELLED} and not job.has_warning:
        raise InvalidTransition(
            f"Job {job.id} is {job.state}: only a failed or cancelled job can be retried. "
            "To do the same work anew, enqueue it again."
        )


def _job(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id) if is_row_number(job_id) else None
    if job is None:
        raise JobNotFound(NO_JOB.format(job_id))
    return job


def _lines(session: Session, jobs: Sequence[Job]) -> list[JobLine]:
    """Return ``jobs`` as a list has them; the number of queries does not grow with the number of jobs."""
    stages = stages_of(session, [job for job in jobs if job.state != JobState.SUCCEEDED])
    progress, locks = progress_of(session, jobs, stages), blocking_locks(session, jobs, stages)
    return [JobLine(job, progress[job.id or 0], locks.get(job.id or 0)) for job in jobs]
