"""Dispatching: sending workers the numbers of the steps that are ready. A lost message costs nothing but time."""

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

#: Steps that are dispatched at one time.
AT_ONCE = 1000


@dataclass(frozen=True)
class StepMessage:
    """One message: the step, the queue it belongs on, and what monitors show."""

    step_id: int
    stage: str
    queue: str
    label: str  #: such as ``job 3 · buckets 0-3``; never personal data
    priority: int


#: Publishes messages. Raises :class:`segadmin.errors.BrokerUnavailable` when the broker does not answer.
Dispatch = Callable[[Sequence[StepMessage]], None]
#: Returns how many messages wait in each queue. Raises as :data:`Dispatch` does.
Waiting = Callable[[], Mapping[str, int]]


def messages_for(session: Session, step_ids: Sequence[int]) -> list[StepMessage]:
    """Mark those of ``step_ids`` that are ready now as dispatched; return their messages.

    Send them with :func:`dispatch_messages` once ``session`` is committed: a worker that gets a message earlier finds
    nothing to do. Of thousands of steps only the first are returned. They keep workers busy until the reaper, which
    dispatches the others, runs again.
    """
    if not step_ids:
        return []
    moment = now(session)
    rows = _ready(session, step_ids[:AT_ONCE], moment)
    marked = update(Step).where(col(Step.id).in_([row.id for row in rows])).values(rung_at=moment)
    session.exec(marked.execution_options(synchronize_session=False))
    return [_message(row) for row in rows]


def dispatch_messages(
    settings: Settings, dispatch: Dispatch, messages: Sequence[StepMessage]
) -> BrokerUnavailable | None:
    """Send ``messages``; return what kept the broker from taking them. The reaper sends them again then."""
    if not messages:
        return None
    try:
        dispatch(messages)
    except BrokerUnavailable as error:
        steps = [message.step_id for message in messages]
        with transaction(settings) as session:
            unsent = update(Step).where(col(Step.id).in_(steps), col(Step.state) == StepState.READY)
            session.exec(unsent.values(rung_at=None))
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


def _message(row: Row[Any]) -> StepMessage:
    buckets = f" · buckets {row.bucket_from}-{row.bucket_to}" if row.bucket_from >= 0 else ""
    return StepMessage(row.id, row.stage, row.queue, f"job {row.job_id} · {row.kind}{buckets}", row.priority)
