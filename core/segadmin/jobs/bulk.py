"""What is done with all jobs of a selection: each succeeds or fails by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlmodel import Session, col, delete, select, update

from segadmin.errors import SegadminError
from segadmin.jobs import control
from segadmin.jobs.advance import unblock
from segadmin.jobs.dispatch import Dispatch, dispatch_messages
from segadmin.jobs.selection import JobSelection
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, Lock, Step, StepState

log = logging.getLogger(__name__)
#: Jobs of one transaction: other writers wait for its end.
_BATCH = 5_000
_OPEN = (JobState.QUEUED, JobState.RUNNING)
#: States of jobs that can be retried.
_RETRYABLE = (JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Failure:
    """A job with which it could not be done."""

    job: int
    reason: str


@dataclass
class BulkResult:
    """What became of the jobs of a selection."""

    done: int = 0  #: number of jobs with which it was done
    failures: list[Failure] = field(default_factory=list)


def cancel_all(settings: Settings, dispatch: Dispatch, selection: JobSelection) -> BulkResult:
    """Cancel all jobs of a selection, as :func:`segadmin.jobs.control.cancel` does.

    A selection without states or numbers means the jobs that are not over. It takes a few statements for thousands of
    jobs, and an entry in the audit log for each transaction.
    """
    result = BulkResult(failures=_missing(settings, selection))
    after, freed = 0, False
    while True:
        with transaction(settings) as session:
            last = _end_of_batch(session, selection, after)
            if last is None:
                break
            part = replace(selection, first=max(after + 1, selection.first or 0), last=last)
            if selection.states or selection.numbers:
                result.failures += _over(session, part)
            done, released = _cancel(session, part)
            result.done, freed, after = result.done + done, freed or released, last
    log.info("jobs cancelled", extra={"action": "cancel", "jobs": result.done, "failed": len(result.failures)})
    dispatch_messages(settings, dispatch, unblock(settings) if freed else [])
    return result


def retry_all(
    settings: Settings,
    dispatch: Dispatch,
    selection: JobSelection,
    most: int,
    *,
    refusal: Callable[[Job], str] = lambda _job: "",
) -> BulkResult:
    """Retry the jobs of a selection, the oldest ``most`` of them, as :func:`segadmin.jobs.control.retry` does.

    A selection without states or numbers means the failed and cancelled jobs.

    Args:
        settings: location of the database.
        dispatch: dispatches the steps that are ready.
        selection: of the jobs.
        most: maximum number of jobs.
        refusal: returns why a job must not be retried; empty if it may.
    """
    result = BulkResult(failures=_missing(settings, selection))
    with reading(settings) as session:
        states = () if selection.states or selection.numbers else (col(Job.state).in_(_RETRYABLE),)
        query = select(Job).where(*selection.conditions, *states).order_by(col(Job.id)).limit(most)
        reasons = {job.id or 0: refusal(job) for job in session.exec(query).all()}
    for number, reason in reasons.items():
        if reason:
            result.failures.append(Failure(number, reason))
            continue
        try:
            control.retry(settings, dispatch, number)
        except SegadminError as error:
            result.failures.append(Failure(number, str(error)))
        else:
            result.done += 1
    return result


def _end_of_batch(session: Session, selection: JobSelection, after: int) -> int | None:
    """Return the last job of the next batch of a selection; ``None`` if there is no further job."""
    query = select(Job.id).where(*selection.conditions, col(Job.id) > after)
    if not selection.states and not selection.numbers:
        query = query.where(col(Job.state).in_(_OPEN))
    full = session.exec(query.order_by(col(Job.id)).offset(_BATCH - 1).limit(1)).first()
    return full or session.exec(query.order_by(col(Job.id).desc()).limit(1)).first()


def _over(session: Session, selection: JobSelection) -> list[Failure]:
    """Return a failure for each job of a selection that is over."""
    rows = session.exec(
        select(Job.id, Job.state).where(*selection.conditions, col(Job.state).not_in(_OPEN)).order_by(col(Job.id))
    ).all()
    return [Failure(number or 0, control.IS_OVER.format(number, state)) for number, state in rows]


def _cancel(session: Session, selection: JobSelection) -> tuple[int, bool]:
    """End the jobs of a selection that are not over; return their number, and whether a lock was released."""
    moment = now(session)
    ended = {"state": JobState.CANCELLED, "error": control.CANCELLED, "finished_at": moment}
    jobs = update(Job).where(*selection.conditions, col(Job.state).in_(_OPEN)).values(**ended)
    done = session.exec(jobs.execution_options(synchronize_session=False)).rowcount
    if not done:
        return 0, False
    these = JobSelection(states=(JobState.CANCELLED,), first=selection.first, last=selection.last)
    cancelled = select(Job.id).where(*these.conditions, Job.finished_at == moment)
    going_on = [StepState.WAITING, StepState.READY, StepState.RUNNING]
    taken = {"state": StepState.CANCELLED, "token": Step.token + 1, "lease_until": None, "finished_at": moment}
    steps = update(Step).where(col(Step.job_id).in_(cancelled), col(Step.state).in_(going_on)).values(**taken)
    session.exec(steps.execution_options(synchronize_session=False))
    facts = {"first": selection.first, "last": selection.last, "kinds": list(selection.kinds), "jobs": done}
    session.add(entry("jobs.cancel", "jobs", before="not over", after=JobState.CANCELLED, **facts))
    released = delete(Lock).where(col(Lock.job_id).in_(cancelled))
    return done, session.exec(released.execution_options(synchronize_session=False)).rowcount > 0


def _missing(settings: Settings, selection: JobSelection) -> list[Failure]:
    """Return a failure for each number of a selection that is no job's."""
    if not selection.numbers:
        return []
    with reading(settings) as session:
        known = set(session.exec(select(Job.id).where(col(Job.id).in_(selection.numbers))).all())
    return [Failure(number, control.NO_JOB.format(number)) for number in selection.numbers if number not in known]
