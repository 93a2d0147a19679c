"""Ringing: telling workers which steps are ready. Losing a ring loses nothing but time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlmodel import Session, col, or_, select, update

from segadmin.database import now, transaction
from segadmin.errors import BrokerUnavailable
from segadmin.records import Job, Step, StepState
from segadmin.settings import Settings

#: Seconds between rings for a step that nobody takes: the ring may be lost (a Redis that came back empty), or the
#: queue may only be long, so the pause doubles up to this.
_PAUSE_LIMIT = 300.0
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


def ring_steps(settings: Settings, ring: Ring, step_ids: Sequence[int]) -> BrokerUnavailable | None:
    """Ring for those of ``step_ids`` that are ready now; return what kept the broker from taking it.

    Of thousands only the first are rung for: that takes a second and keeps workers busy until the reaper, which
    rings for the others, looks again.
    """
    with transaction(settings) as session:
        due = _due(session, step_ids[:AT_ONCE])
    if not due:
        return None
    try:
        ring([_bell(row) for row in due])
    except BrokerUnavailable as error:
        return error
    with transaction(settings) as session:
        for rings, ids in _by_rings(due):
            pause = min(settings.ring_seconds * 2.0 ** min(rings, 10), _PAUSE_LIMIT)
            rung = update(Step).where(col(Step.id).in_(ids), col(Step.state) == StepState.READY)
            session.exec(rung.values(ring_at=now(session) + timedelta(seconds=pause), rings=rings + 1))
    return None


def unheard(moment: datetime) -> tuple[Any, ...]:
    """Return the conditions under which a step is to be rung for, perhaps again, at ``moment``."""
    return (
        col(Step.state) == StepState.READY,
        or_(col(Step.not_before).is_(None), col(Step.not_before) <= moment),
        or_(col(Step.ring_at).is_(None), col(Step.ring_at) <= moment),
    )


def _due(session: Session, step_ids: Sequence[int]) -> Sequence[Row[Any]]:
    moment = now(session)
    return session.execute(
        select(  # type: ignore[call-overload]
            Step.id,
            Step.stage,
            Step.queue,
            Step.bucket_from,
            Step.bucket_to,
            Step.rings,
            Job.priority,
            Job.kind,
            Step.job_id,
        )
        .join(Job)
        .where(col(Step.id).in_(step_ids), col(Step.state) == StepState.READY)
        .where(or_(col(Step.not_before).is_(None), col(Step.not_before) <= moment))
        .order_by(col(Job.priority).desc(), col(Step.id))
    ).all()


def _by_rings(due: Sequence[Row[Any]]) -> Iterator[tuple[int, list[int]]]:
    rows = sorted((row.rings, row.id) for row in due)
    for rings, group in itertools.groupby(rows, key=lambda row: row[0]):
        yield rings, [step_id for _, step_id in group]


def _bell(row: Row[Any]) -> Bell:
    buckets = f" · buckets {row.bucket_from}-{row.bucket_to}" if row.bucket_from >= 0 else ""
    return Bell(row.id, row.stage, row.queue, f"job {row.job_id} · {row.kind}{buckets}", row.priority)
