"""Recovering what was lost: expired leases, lost messages, and jobs that no step advanced."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlmodel import Session, and_, col, or_, select, update

from segadmin.jobs.advance import Advanced, fail_stage, lock_job, log_ended, unblock
from segadmin.jobs.dispatch import Dispatch, Waiting, dispatch_messages, messages_for
from segadmin.jobs.finish import longest_wait
from segadmin.jobs.lease import has_expired
from segadmin.jobs.lost_messages import lengths_of_queues, lost_steps, undispatched
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, Step, StepState, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reaped:
    """What was recovered."""

    expired: int  #: steps whose lease had run out
    dispatched: int  #: ready steps whose message was sent, or sent again
    failed: int  #: jobs that ended because a step had no attempt left


def reap(settings: Settings, dispatch: Dispatch, waiting: Waiting | None = None) -> Reaped:
    """Do it once. Safe to run anywhere, any number of times, also at the same moment.

    Args:
        settings: where the database is, and how long a message may wait before it is looked for.
        dispatch: see :data:`segadmin.jobs.dispatch.Dispatch`.
        waiting: how many messages wait in each queue; without it, every message that waits too long is taken for lost.
    """
    with reading(settings) as session:
        expired = session.exec(
            select(Step.id, Step.token)
            .where(Step.state == StepState.RUNNING, has_expired(settings, now(session)))
            .order_by(col(Step.id))
        ).all()
    lost = [_lost(settings, step_id or 0, token, "the lease of a step expired") for step_id, token in expired]
    messages = [message for advanced in lost for message in advanced.ready] + unblock(settings)
    lengths = lengths_of_queues(settings, waiting)
    _end_waits_of_other_clock(settings)
    with transaction(settings) as session:
        session.exec(select(Store.id).with_for_update())  # one reaper at a time, or two would dispatch the same steps
        messages += messages_for(session, undispatched(session))
        if lengths is not None:
            messages += messages_for(session, lost_steps(session, settings, lengths))
    dispatch_messages(settings, dispatch, messages)
    return Reaped(len(expired), len(messages), sum(advanced.ended is not None for advanced in lost))


def _end_waits_of_other_clock(settings: Settings) -> None:
    """Let steps start whose ``not_before`` was set while the clock was ahead, now that it is set back.

    Their attempt began, or their job was saved, in the future; or they wait for longer than any step does. Those whose
    lease is of the other clock are found by :func:`segadmin.jobs.lease.has_expired`.
    """
    with reading(settings) as session:
        moment = now(session)
        waits = (col(Step.state) == StepState.READY, col(Step.not_before) > moment)
        is_of_other_clock = or_(
            col(Step.started_at) > moment,
            and_(col(Step.started_at).is_not(None), col(Step.not_before) > moment + longest_wait(settings)),
            col(Step.job_id).in_(select(Job.id).where(col(Job.created_at) > moment)),
        )
        steps = session.exec(select(Step.id).where(*waits, is_of_other_clock)).all()
    if not steps:
        return
    with transaction(settings) as session:
        freed = session.exec(update(Step).where(col(Step.id).in_(steps), *waits).values(not_before=None))
    log.warning("the clock was set back; steps go on", extra={"action": "reap", "steps": freed.rowcount})


def lost_process(settings: Settings, dispatch: Dispatch, step_id: int, worker: str, reason: str) -> None:
    """Take a step back at once from a process that its worker saw die."""
    with reading(settings) as session:
        token = session.exec(
            select(Step.token).where(Step.id == step_id, Step.state == StepState.RUNNING, Step.worker == worker)
        ).first()
    if token is not None:
        advanced = _lost(settings, step_id, token, "the process of a step died", reason)
        dispatch_messages(settings, dispatch, advanced.ready + (unblock(settings) if advanced.freed else []))


def _lost(settings: Settings, step_id: int, token: int, event: str, reason: str = "") -> Advanced:
    """Let a step run again whose process is gone, or fail its job where no attempt is left; log it as ``event``."""
    with transaction(settings) as session:
        job = lock_job(session, session.get_one(Step, step_id).job_id)
        step = session.get_one(Step, step_id, populate_existing=True)
        if step.token != token or step.state != StepState.RUNNING:
            return Advanced()  # its worker answered meanwhile
        facts = {"job": job.id, "kind": job.kind, "stage": step.stage, "step": step_id, "attempt": step.attempt}
        facts |= {"action": "lost", "worker": step.worker}
        advanced = _take_back(session, job, step, reason or f"the worker {step.worker} stopped answering")
    log.warning(event, extra=facts)
    if advanced.ended is not None:
        log_ended(advanced.ended)
    return advanced


def _take_back(session: Session, job: Job, step: Step, reason: str) -> Advanced:
    why = _why(step, reason)
    step.token += 1
    step.error, step.lease_until, step.calling = why, None, ""
    session.add(step)
    if step.attempt < step.max_attempts:
        step.state, step.rung_at = StepState.READY, None
        session.flush()
        return Advanced(ready=messages_for(session, [step.id or 0]))
    step.state, step.finished_at = StepState.FAILED, now(session)
    return fail_stage(session, job, step.stage, why, lost=True)


def _why(step: Step, reason: str) -> str:
    blamed = f"PluginError: {reason} while it called {step.calling}" if step.calling else reason
    return (
        f"{blamed} (attempt {step.attempt} of {step.max_attempts}); if it was out of memory, the kernel's log says so"
    )
