"""The snapshot that a job has published, and the store as it was then, for the stages that follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.storage.database import reading
from segadmin.storage.records import SegmentSnapshot, SnapshotState, Step, StepState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session
    from sqlmodel.sql.expression import SelectOfScalar

    from segadmin.jobs.attempt import Attempt
    from segadmin.settings import Settings
    from segadmin.text.plan import TextPlan
    from segadmin.workflows.prepared import PreparedSegments

#: States of a step that has done, or will do, what it is for.
_EXPECTED = (StepState.WAITING, StepState.READY, StepState.RUNNING, StepState.SUCCEEDED)


def snapshot_of(session: Session, job_id: int) -> SegmentSnapshot | None:
    """Return the snapshot that a job has published, if it has."""
    from sqlmodel import select

    own = select(SegmentSnapshot).where(
        SegmentSnapshot.job_id == job_id, SegmentSnapshot.state == SnapshotState.PUBLISHED
    )
    return session.exec(own).first()


def overtaken_by(attempt: Attempt, prepared: PreparedSegments) -> SegmentSnapshot | None:
    """Return the snapshot that became current since a job chose its model and events, if it is not to be replaced.

    A job that failed holds no lock until it is retried, so others may have published later events, or another champion
    may have its snapshot. A job that trained its model, or was asked for another than the champion, replaces that.
    """
    from segadmin.models.aliases import champion, current_snapshot, pointed

    options, version = attempt.options, prepared.model_version_id
    asks_for_champion = options.get("model", "champion") == "champion" and options.get("backbone") is None
    with reading(attempt.settings) as session:
        number = pointed(session, current_snapshot(prepared.label_set))
        if version is None or number is None or (prepared.refresh and prepared.refresh.snapshot_id == number):
            return None
        current = session.get_one(SegmentSnapshot, number)
        of_champion = current.model_version_id == pointed(session, champion(prepared.label_set))
    is_later = current.lake_versions.get("events", 0) > (prepared.text.lake or {}).get("events", 0)
    if current.model_version_id == version:
        return current if is_later else None
    return current if asks_for_champion and (is_later or of_champion) else None


def still_there(settings: Settings, text: TextPlan) -> TextPlan:
    """Return the plan of a job that has published, to be read as the store is now if an erasure came since.

    Its window ends where the snapshot does, so what came later is not read.
    """
    from segadmin.storage.lake import Lake

    return text.model_copy(update={"lake": None}) if Lake.of(settings, text.lake).gone() else text


def is_expected(session: Session, stage: str, snapshot: SegmentSnapshot) -> bool:
    """Whether ``stage`` was done, or will be, after an earlier snapshot of that day by the same model.

    A refresh need not wait for what follows the one before it, so that may be under way still.
    """
    from sqlmodel import col, select

    of_jobs = select(SegmentSnapshot.as_of).join(Step, col(Step.job_id) == col(SegmentSnapshot.job_id))
    return is_of_day_of(session, snapshot, of_jobs.where(Step.stage == stage, col(Step.state).in_(_EXPECTED)))


def is_of_day_of(session: Session, snapshot: SegmentSnapshot, moments: SelectOfScalar[datetime]) -> bool:
    """Whether a snapshot is of the same day as the newest other one of its label set and model.

    Args:
        session: to read in.
        snapshot: the snapshot.
        moments: the query of ``as_of`` of the snapshots that count.
    """
    from sqlmodel import col

    others = moments.where(
        SegmentSnapshot.label_set == snapshot.label_set,
        SegmentSnapshot.model_version_id == snapshot.model_version_id,
        SegmentSnapshot.state == SnapshotState.PUBLISHED,
        SegmentSnapshot.id != snapshot.id,
    )
    newest = session.exec(others.order_by(col(SegmentSnapshot.id).desc()).limit(1)).first()
    return newest is not None and newest.date() == snapshot.as_of.date()
