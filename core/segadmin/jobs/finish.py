"""Ending an attempt: done, failed, or given back; each is one transaction that carries the fencing token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, update

from segadmin.errors import PERMANENT, OutOfMemory, StepFenced
from segadmin.jobs.advance import Advanced, advance, fail_stage, lock_job, stage_is_open
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.lease import owned
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Step, StepState

#: Waits double up to so many seconds, unless the first one is longer.
_LONGEST_WAIT = 3600.0


def finish(attempt: Attempt, outcome: StageResult) -> Advanced:
    """Record the outcome, run its SQL, and move the job on, all or nothing.

    Raises:
        StepFenced: the step is somebody else's; nothing was written.
    """
    with transaction(attempt.settings) as session:
        job = lock_job(session, attempt.job_id)
        done = {"state": StepState.SUCCEEDED, "progress": 1.0, "error": None, "result": outcome.result}
        _end(session, attempt, {**done, "finished_at": now(session)})
        extra = outcome.commit(session) if outcome.commit else {}
        if extra:
            session.exec(update(Step).where(col(Step.id) == attempt.step_id).values(result={**outcome.result, **extra}))
        if outcome.skip:
            session.exec(
                update(Step)
                .where(
                    col(Step.job_id) == attempt.job_id,
                    col(Step.stage).in_(outcome.skip),
                    col(Step.state) == StepState.WAITING,
                )
                .values(state=StepState.SKIPPED)
            )
        attempt.reach("commit")
        if attempt.buckets and stage_is_open(session, attempt.job_id, attempt.stage):
            return Advanced(ready=outcome.messages)
        advanced = advance(session, job)
        advanced.ready += outcome.messages
        return advanced


def fail(attempt: Attempt, error: BaseException) -> Advanced:
    """Record a failed attempt: another one after a wait, or the end of the job, unless the stage may fail.

    Raises:
        StepFenced: the step is somebody else's; nothing was written.
    """
    reason = str(error) if isinstance(error, PERMANENT) else f"{type(error).__name__}: {error}"
    settings = attempt.settings
    with transaction(settings) as session:
        job = lock_job(session, attempt.job_id)
        step = session.get_one(Step, attempt.step_id)
        if isinstance(error, PERMANENT) or step.attempt >= step.max_attempts:
            _end(session, attempt, {"state": StepState.FAILED, "error": reason, "finished_at": now(session)})
            return fail_stage(session, job, attempt.stage, reason)
        first = settings.backoff_seconds * (OutOfMemory.backoff_factor if isinstance(error, OutOfMemory) else 1)
        wait = timedelta(seconds=min(first * 2 ** (step.attempt - 1), max(first, _LONGEST_WAIT)))
        _end(session, attempt, {**_READY, "error": reason, "not_before": now(session) + wait})
        return Advanced()


def longest_wait(settings: Settings) -> timedelta:
    """Return the longest wait between two attempts of a step."""
    return timedelta(seconds=max(settings.backoff_seconds * OutOfMemory.backoff_factor, _LONGEST_WAIT))


def release(attempt: Attempt, reason: str) -> None:
    """Give the step back because this worker stops; the attempt does not count.

    Raises:
        StepFenced: the step is somebody else's; nothing was written.
    """
    with transaction(attempt.settings) as session:
        lock_job(session, attempt.job_id)
        _end(session, attempt, {**_READY, "error": reason, "attempt": Step.attempt - 1})


_READY: dict[str, Any] = {"state": StepState.READY, "lease_until": None, "rung_at": None}


def _end(session: Session, attempt: Attempt, values: dict[str, Any]) -> None:
    values |= {"token": Step.token + 1, "calling": "", **attempt.measured}
    # Nothing reads the step from this session any more, so nothing in it is to be brought up to date.
    ended = update(Step).where(*owned(attempt)).values(**values).execution_options(synchronize_session=False)
    if session.exec(ended).rowcount == 0:
        raise StepFenced(f"attempt {attempt.number} of step {attempt.step_id} no longer owns it")
