"""The stage ``canary``: while one is running, compares its challenger with the champion, and decides when it is time.

It comes after a snapshot was published, and does nothing where no canary is running.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.registry import Stage
from segadmin.models.canary import end_canary, running_canary
from segadmin.storage.database import reading
from segadmin.storage.records import Canary, CanaryState, ModelVersion
from segadmin.workflows.prepared import PreparedSegments

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

log = logging.getLogger(__name__)


class CanaryOutput(StageOutput):
    """What became of the canary: set by the transaction that decides it."""

    stage: ClassVar[str] = "canary"

    challenger: int | None = None  #: ``None``: no canary was running
    state: str = ""  #: a :class:`segadmin.storage.records.CanaryState`
    reason: str = ""  #: why it ended


def canary(attempt: Attempt) -> StageResult:
    """Compare the challenger with the champion, once a day of the events' time, and decide when the time is over."""
    from segadmin.models.registry import make_champion
    from segadmin.monitoring.canary_rule import decide
    from segadmin.workflows.canary_comparison import compare

    prepared = attempt.output(PreparedSegments)
    as_of = prepared.window.as_of
    with reading(attempt.settings) as session:
        running = running_canary(session, prepared.label_set)
    if running is None:
        return StageResult(CanaryOutput())
    output = CanaryOutput(challenger=running.challenger_id, state=running.state)
    is_due = as_of >= running.until
    if not is_due and _is_compared(running, as_of):
        return StageResult(output)
    comparison = compare(attempt, running, prepared)
    decision = decide(comparison) if is_due else None
    promoted: list[ModelVersion] = []

    def commit(session: Session) -> Json:
        current = session.get_one(Canary, running.id, populate_existing=True)
        if current.state != CanaryState.RUNNING:  # it was stopped meanwhile
            return {"state": current.state.value, "reason": current.reason or ""}
        current.comparison, current.compared_as_of = comparison.model_dump(mode="json"), as_of
        session.add(current)
        session.flush()
        if decision is None:
            return {}
        state = CanaryState.PROMOTED if decision.promoted else CanaryState.STOPPED
        if not end_canary(session, current, state, decision.reason, job=attempt.job_id):
            return {}
        if decision.promoted:
            version = session.get_one(ModelVersion, running.challenger_id)
            make_champion(session, version, expected=running.champion_id)
            promoted.append(version)
        return {"state": state.value, "reason": decision.reason}

    def after() -> None:
        if decision is not None:
            facts = {"version": running.challenger_id, "label_set": running.label_set, "reason": decision.reason}
            log.info("canary decided", extra={"action": "canary", "promoted": bool(promoted), **facts})
        for version in promoted:
            load_plugins(attempt.settings).announce("model_promoted", version=version)

    return StageResult(output, commit=commit, after=after)


def _is_compared(running: Canary, as_of: datetime) -> bool:
    """Whether it was compared on that day: it takes longer than a small refresh."""
    return running.compared_as_of is not None and running.compared_as_of.date() >= as_of.date()


CANARY = Stage("canary", canary, "gpu", after=("monitor",), cost=2)
