"""Ringing: telling workers which steps are ready. Losing a ring loses nothing but time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlmodel import col, select, update

from segadmin.database import now, transaction
from segadmin.errors import BrokerUnavailable
from segadmin.records import Job, Step, StepState
from segadmin.settings import Settings


@dataclass(frozen=True)
class Bell:
    """One ring: the step, the queue it belongs on, and what monitors show."""

    step_id: int
    stage: str
    queue: str
    label: str  #: such as ``job 3 · buckets 0-3``; never personal data
    priority: int


#: Publishes bells. Raises :class:`segadmin.errors.BrokerUnavailable` when the broker does not answer.
Ring = Callable[[Sequence[Bell]], None]


def ring_steps(settings: Settings, ring: Ring, step_ids: Sequence[int]) -> bool:
    """Ring for those of ``step_ids`` that are ready now; return whether the broker took it."""
    if not step_ids:
        return True
    with transaction(settings) as session:
        moment = now(session)
        rows = session.exec(
            select(Step, Job)
            .join(Job)
            .where(col(Step.id).in_(step_ids), Step.state == StepState.READY)
            .order_by(col(Job.priority).desc(), col(Step.id))
        ).all()
        due = [(step, job) for step, job in rows if step.not_before is None or step.not_before <= moment]
        if not due:
            return True
    try:
        ring([_bell(step, job) for step, job in due])
    except BrokerUnavailable:
        return False
    with transaction(settings) as session:
        session.exec(
            update(Step)
            .where(col(Step.id).in_([step.id for step, _ in due]))
            .values(rung_at=now(session), rings=Step.rings + 1)
        )
    return True


def _bell(step: Step, job: Job) -> Bell:
    assert step.id is not None
    buckets = f" · buckets {step.bucket_from}-{step.bucket_to}" if step.bucket_from >= 0 else ""
    return Bell(step.id, step.stage, step.queue, f"job {job.id} · {job.kind}{buckets}", job.priority)
