"""Who made which version champion, and why: read from the audit log, or from the job whose gate did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from segadmin.models.aliases import champion, pointed
from segadmin.storage.records import Audit, ModelVersion

#: The actions of the audit log that make a version champion.
ACTIONS = ("models.promote", "models.rollback", "models.canary.promote")


@dataclass(frozen=True)
class ChampionChange:
    """How a version became the champion of its label set."""

    version: int
    at: datetime | None
    actor: str  #: empty: the gate of a job did it
    reason: str
    job: int  #: that trained the version

    def __str__(self) -> str:
        """Return a phrase such as ``key ann made version 3 champion at 2026-03-02 09:30 UTC: campaign in May``."""
        moment = f" at {self.at:%Y-%m-%d %H:%M} UTC" if self.at else ""
        who = self.actor or f"the gate of job {self.job}"
        return f"{who} made version {self.version} champion{moment}" + (f": {self.reason}" if self.reason else "")


def champion_change(session: Session, label_set: str) -> ChampionChange | None:
    """Return how the champion of a label set became champion; ``None`` if there is none."""
    number = pointed(session, champion(label_set))
    version = None if number is None else session.get(ModelVersion, number)
    if version is None or version.id is None:
        return None
    by_hand = select(Audit).where(col(Audit.action).in_(ACTIONS), Audit.subject == f"model {version.id}")
    entry = session.exec(by_hand.order_by(col(Audit.id).desc()).limit(1)).first()
    if entry is None:
        return ChampionChange(version.id, version.promoted_at, "", "", version.job_id)
    reason = str(entry.details.get("reason") or "")
    return ChampionChange(version.id, entry.created_at, entry.actor, reason, version.job_id)
