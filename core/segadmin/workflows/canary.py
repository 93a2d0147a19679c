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
from segadmin.storage.records import Canary, CanaryState, Job, ModelVersion
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.score_users import give_up_challenger
from segadmin.workflows.scored import scoring_of

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
    failure: str = ""  #: what the challenger failed with, if it did while it was compared


def canary(attempt: Attempt) -> StageResult:
    """Compare the challenger with the champion, once a day of the events' time, and decide when the time is over.

    A challenger that cannot read the users is stopped.
    """
    from segadmin.models.registry import make_champion
    from segadmin.monitoring.canary_rule import decide
    from segadmin.workflows.canary_comparison import ChallengerFailed, compare

    prepared = attempt.output(PreparedSegments)
    as_of = prepared.window.as_of
    with reading(attempt.settings) as session:
        running = running_canary(session, prepared.label_set)
    if running is None:
        return StageResult(_ended(attempt, prepared))
    output = CanaryOutput(challenger=running.challenger_id, state=running.state)
    is_due = as_of >= running.until
    if not is_due and _is_compared(running, as_of):
        return StageResult(output)
    try:
        comparison = compare(attempt, running, prepared)
    except ChallengerFailed as error:
        return _stop(attempt, running, str(error))
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


def _ended(attempt: Attempt, prepared: PreparedSegments) -> CanaryOutput:
    """Return how the canary ended whose challenger was to score users in this job."""
    share = scoring_of(attempt, prepared).canary
    if share is None:
        return CanaryOutput()
    with reading(attempt.settings) as session:
        row = session.get_one(Canary, share.canary_id)
    return CanaryOutput(challenger=row.challenger_id, state=row.state, reason=row.reason or "")


def _stop(attempt: Attempt, running: Canary, failure: str) -> StageResult:
    """Stop a canary whose challenger failed.

    The failure may quote users' texts, so it is not put where it would stay when they are erased.
    """
    reason = f"the challenger failed while it was compared: segadmin jobs show {attempt.job_id}"

    def commit(session: Session) -> Json:
        current = session.get_one(Canary, running.id, populate_existing=True)
        end_canary(session, current, CanaryState.STOPPED, reason, job=attempt.job_id)
        return {"state": current.state.value, "reason": current.reason or ""}

    output = CanaryOutput(challenger=running.challenger_id, state=running.state, failure=failure)
    return StageResult(output, commit=commit)


def _is_compared(running: Canary, as_of: datetime) -> bool:
    """Whether it was compared on that day: it takes longer than a small refresh."""
    return running.compared_as_of is not None and running.compared_as_of.date() >= as_of.date()


def _given_up(session: Session, job: Job, *, lost: bool) -> None:
    """Stop a canary whose comparison took its processes down; if it failed otherwise, that was not the challenger."""
    if lost:
        give_up_challenger(session, job, lost=lost)


#: The last stage that decides which segments users have: the next job may begin then.
CANARY = Stage(
    "canary",
    canary,
    "gpu",
    after=("publish",),
    may_fail=True,
    failed=_given_up,
    releases="snapshot",
    cost=2,
)
