"""Finding what fell through: leases that ran out, rings that were lost, jobs that nobody moved on."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import col, select

from segadmin.jobs.advance import Advanced, fail_job, lock_job, unblock
from segadmin.jobs.dispatch import Ring, Waiting, call, ring_bells
from segadmin.jobs.lost_messages import lengths_of_queues, lost_rings, unrung
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Step, StepState, Store


@dataclass(frozen=True)
class Reaped:
    """What was found."""

    expired: int  #: steps whose lease had run out
    rung: int  #: ready steps that were rung for, or rung for again
    failed: int  #: jobs that ended because a step had no attempt left


def reap(settings: Settings, ring: Ring, waiting: Waiting | None = None) -> Reaped:
    """Do it once. Safe to run anywhere, any number of times, also at the same moment.

    Args:
        settings: where the database is, and how long a ring may take to be heard.
        ring: see :data:`segadmin.jobs.dispatch.Ring`.
        waiting: how many messages wait in each queue; without it, every ring that was not heard in time is lost.
    """
    with reading(settings) as session:
        expired = session.exec(
            select(Step.id, Step.token)
            .where(Step.state == StepState.RUNNING, col(Step.lease_until) < now(session))
            .order_by(col(Step.id))
        ).all()
    lost = [_lost(settings, step_id or 0, token) for step_id, token in expired]
    bells = [bell for one in lost for bell in one.ready] + unblock(settings)
    lengths = lengths_of_queues(settings, waiting)
    with transaction(settings) as session:
        session.exec(select(Store.id).with_for_update())  # one reaper at a time, or two would ring for the same
        bells += call(session, unrung(session))
        if lengths is not None:
            bells += call(session, lost_rings(session, settings, lengths))
    ring_bells(settings, ring, bells)
    return Reaped(len(expired), len(bells), sum(one.ended is not None for one in lost))


def lost_process(settings: Settings, ring: Ring, step_id: int, worker: str, reason: str) -> None:
    """Take a step back at once from a process that its worker saw die."""
    with reading(settings) as session:
        token = session.exec(
            select(Step.token).where(Step.id == step_id, Step.state == StepState.RUNNING, Step.worker == worker)
        ).first()
    if token is not None:
        advanced = _lost(settings, step_id, token, reason)
        ring_bells(settings, ring, advanced.ready + (unblock(settings) if advanced.freed else []))


def _lost(settings: Settings, step_id: int, token: int, reason: str = "") -> Advanced:
    """Let a step run again whose process is gone, or fail its job where no attempt is left."""
    with transaction(settings) as session:
        job = lock_job(session, session.get_one(Step, step_id).job_id)
        step = session.get_one(Step, step_id, populate_existing=True)
        if step.token != token or step.state != StepState.RUNNING:
            return Advanced()  # it was heard of meanwhile
        why = _why(step, reason or f"the worker {step.worker} stopped answering")
        step.token += 1
        step.error, step.lease_until, step.calling = why, None, ""
        session.add(step)
        if step.attempt < step.max_attempts:
            step.state, step.rung_at = StepState.READY, None
            session.flush()
            return Advanced(ready=call(session, [step_id]))
        step.state, step.finished_at = StepState.FAILED, now(session)
        return fail_job(session, job, f"{step.stage}: {why}")


def _why(step: Step, reason: str) -> str:
    blamed = f"PluginError: {reason} while it called {step.calling}" if step.calling else reason
    return (
        f"{blamed} (attempt {step.attempt} of {step.max_attempts}); if it was out of memory, the kernel's log says so"
    )
