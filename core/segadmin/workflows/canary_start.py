"""How the gate starts a canary: instead of promoting a new version, it lets it score a share of the users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from segadmin.jobs.attempt import Attempt
from segadmin.models.canary import CanaryShare, start_canary
from segadmin.models.usable import why_unusable
from segadmin.storage.database import reading
from segadmin.storage.records import ModelVersion
from segadmin.workflows.prepared import PreparedSegments, RefreshPlan
from segadmin.workflows.retrain_request import Retrain
from segadmin.workflows.scoring_groups import current_of

if TYPE_CHECKING:
    from sqlmodel import Session


@dataclass(frozen=True)
class CanaryPlan:
    """Whether a version that the gate would promote becomes a canary."""

    share: float | None = None  #: ``None``: it does not
    champion_id: int = 0
    since: datetime | None = None
    until: datetime | None = None
    refresh: RefreshPlan | None = None  #: what holds for the users who are not scored
    refused: bool = False  #: it was asked for and cannot be, so the version stays a challenger
    remark: str = ""  #: for the reason that the gate gives

    def start(self, session: Session, version: ModelVersion) -> CanaryShare:
        """Start the canary."""
        assert self.share is not None
        assert self.since is not None
        assert self.until is not None
        canary = start_canary(session, version, self.champion_id, self.share, since=self.since, until=self.until)
        return CanaryShare.of(canary)


def canary_plan(attempt: Attempt, prepared: PreparedSegments, champion: ModelVersion) -> CanaryPlan:
    """Return whether the version that this job trained becomes a canary beside ``champion``."""
    request = Retrain.model_validate(attempt.options)
    if request.canary is None:
        return CanaryPlan()
    if set(champion.segments) != set(prepared.segments):
        return CanaryPlan(
            refused=True,
            remark=f"it cannot be a canary, as version {champion.id}, the champion, has other segments. Promote it: "
            "segadmin models promote VERSION",
        )
    if (trouble := why_unusable(attempt.settings, champion)) is not None:
        return CanaryPlan(remark=f"there is no canary, as version {champion.id} cannot be used any more: {trouble}")
    assert champion.id is not None
    since = prepared.window.as_of
    until = since + timedelta(days=request.canary_days)
    with reading(attempt.settings) as session:
        current = current_of(session, prepared.label_set, champion.id)
    lake = prepared.text.lake or {}
    return CanaryPlan(
        share=request.canary,
        champion_id=champion.id,
        since=since,
        until=until,
        refresh=None if current is None else RefreshPlan.of(current, lake, everyone=False, silent=True),
        remark=f"as a canary it scores {100 * request.canary:g}% of the users until {until:%Y-%m-%d}",
    )
