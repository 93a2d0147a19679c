"""Ringing: telling workers which steps are ready. Losing a ring loses nothing but time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlmodel import Session, col, or_, select, update

from segadmin.errors import BrokerUnavailable
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Job, Step, StepState

#: Steps that are rung for at one time.
AT_ONCE = 1000


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
#: Returns how many messages wait in each queue. Raises as :data:`Ring` does.
Waiting = Callable[[], Mapping[str, int]]


def call(session: Session, step_ids: Sequence[int]) -> list[Bell]:
    """Note that those of ``step_ids`` that are ready now are rung for; return their bells.

    They are for :func:`ring_bells`, once ``session`` is committed: a worker that hears earlier finds nothing to do. Of
    thousands only the first are called: that takes a second and keeps workers busy until the reaper, which calls the
    others, looks again.
    """
    if not step_ids:
        return []
    moment = now(session)
    rows = _ready(session, step_ids[:AT_ONCE], moment)
    called = [row.id for row in rows]
    rung = update(Step).where(col(Step.id).in_(called)).values(rung_at=moment)
    session.exec(rung.execution_options(synchronize_session=False))
    return [_bell(row) for row in rows]


def ring_bells(settings: Settings, ring: Ring, bells: Sequence[Bell]) -> BrokerUnavailable | None:
    """Ring ``bells``; return what kept the broker from taking them, which the reaper tries again."""
    if not bells:
        return None
    try:
        ring(bells)
    except BrokerUnavailable as error:
        called = [bell.step_id for bell in bells]
        with transaction(settings) as session:
            unheard = update(Step).where(col(Step.id).in_(called), col(Step.state) == StepState.READY)
            session.exec(unheard.values(rung_at=None))
        return error
    return None


def is_due(moment: datetime) -> tuple[Any, ...]:
    """Return the conditions under which a worker may take a step at ``moment``."""
    return (
        col(Step.state) == StepState.READY,
        or_(col(Step.not_before).is_(None), col(Step.not_before) <= moment),
    )


def _ready(session: Session, step_ids: Sequence[int], moment: datetime) -> Sequence[Row[Any]]:
    return session.execute(
        select(  # type: ignore[call-overload]
            Step.id,
            Step.stage,
            Step.queue,
            Step.bucket_from,
            Step.bucket_to,
            Job.priority,
            Job.kind,
            Step.job_id,
        )
        .join(Job)
        .where(col(Step.id).in_(step_ids), *is_due(moment))
        .order_by(col(Job.priority).desc(), col(Step.id))
    ).all()


def _bell(row: Row[Any]) -> Bell:
    buckets = f" · buckets {row.bucket_from}-{row.bucket_to}" if row.bucket_from >= 0 else ""
    return Bell(row.id, row.stage, row.queue, f"job {row.job_id} · {row.kind}{buckets}", row.priority)
