"""Finding lost messages. A message that is known to wait in its queue is not sent again, however long it waits.

The message of a step that no worker took may be one of thousands in a long queue, or it is lost: Redis was restarted
empty, or a worker crashed with it. Two observations show a loss:

- Fewer messages wait than steps were dispatched a while ago. The difference is the number of lost messages. Which ones
  were lost cannot be seen, so the first in turn are sent again. A wrong guess costs a message that finds nothing to do.
- A step was taken whose turn was later. This shows a loss that messages of cancelled steps hide from the count.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, func, or_, select

from segadmin.errors import BrokerUnavailable
from segadmin.jobs.dispatch import AT_ONCE, Waiting, is_due
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.storage.records import Job, Step, StepState

#: States of a step that a worker has taken.
_TAKEN = (StepState.RUNNING, StepState.SUCCEEDED, StepState.FAILED)
#: The highest priority first, then the earliest dispatched: the order in which a queue delivers.
_TURN = (col(Job.priority).desc(), col(Step.rung_at), col(Step.id))


def lengths_of_queues(settings: Settings, waiting: Waiting | None) -> Mapping[str, int] | None:
    """Return how many messages wait in each queue, where a message may be lost; ``None`` where none is.

    It must be asked before SQL is: a step that is taken in between is then not taken for lost. Without ``waiting``,
    nothing waits.
    """
    with reading(settings) as session:
        late = session.exec(select(Step.id).where(*_late(session, settings)).limit(1)).first()
    if late is None:
        return None
    try:
        return {} if waiting is None else waiting()
    except BrokerUnavailable:  # nothing could be sent either
        return None


def lost_steps(session: Session, settings: Settings, lengths: Mapping[str, int]) -> list[int]:
    """Return the steps whose message must be sent again, the first in turn first.

    Args:
        session: in which they are dispatched (see :func:`segadmin.jobs.dispatch.messages_for`), one reaper at a time.
        settings: how long a message may wait before it is looked for.
        lengths: see :func:`lengths_of_queues`.
    """
    late = _late(session, settings)
    counted = session.exec(select(Step.queue, func.count()).where(*late).group_by(Step.queue)).all()
    lost: list[int] = []
    for queue, count in counted:
        turn = select(Step.id, Step.rung_at, Job.priority).join(Job).where(*late, Step.queue == queue).order_by(*_TURN)
        missing = count - lengths.get(queue, 0)
        if missing > 0:
            lost += _nobodys(session, turn.limit(min(missing, AT_ONCE)))
        elif _is_overtaken(session, queue, session.exec(turn.limit(1)).first()):
            lost += _nobodys(session, turn.limit(1))
    return lost


def undispatched(session: Session) -> list[int]:
    """Return the steps that are due and were not dispatched yet, the highest priority first."""
    due = select(Step.id).join(Job).where(*is_due(now(session)), col(Step.rung_at).is_(None))
    return _nobodys(session, due.order_by(col(Job.priority).desc(), col(Step.id)).limit(AT_ONCE))


def _late(session: Session, settings: Settings) -> tuple[Any, ...]:
    """Return the conditions under which a message waits too long, or was sent before a clock was set back."""
    moment = now(session)
    since = moment - timedelta(seconds=settings.ring_seconds)
    return (col(Step.state) == StepState.READY, or_(col(Step.rung_at) <= since, col(Step.rung_at) > moment))


def _is_overtaken(session: Session, queue: str, first: tuple[int | None, datetime | None, int] | None) -> bool:
    """Return whether a step was taken that was dispatched later than ``first`` and has no higher priority."""
    if first is None:
        return False
    _, rung_at, priority = first
    later = (col(Step.rung_at) > rung_at, Step.queue == queue, Job.priority <= priority)
    taken = select(Step.id).join(Job).where(col(Step.state).in_(_TAKEN), *later)
    return session.exec(taken.limit(1)).first() is not None


def _nobodys(session: Session, steps: Any) -> list[int]:
    """Return the numbers of ``steps``, locked, without those that are being changed: none is waited for."""
    return [row[0] for row in session.execute(steps.with_for_update(skip_locked=True, of=Step)).all()]
