"""The snapshot that a job has published, and the store as it was then, for the stages that follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.storage.records import SegmentSnapshot, SnapshotState, Step, StepState

if TYPE_CHECKING:
    from sqlmodel import Session

    from segadmin.settings import Settings
    from segadmin.text.plan import TextPlan

#: States of a step that has done, or will do, what it is for.
_EXPECTED = (StepState.WAITING, StepState.READY, StepState.RUNNING, StepState.SUCCEEDED)


def snapshot_of(session: Session, job_id: int) -> SegmentSnapshot | None:
    """Return the snapshot that a job has published, if it has."""
    from sqlmodel import select

    own = select(SegmentSnapshot).where(
        SegmentSnapshot.job_id == job_id, SegmentSnapshot.state == SnapshotState.PUBLISHED
    )
    return session.exec(own).first()


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

    earlier = (
        select(SegmentSnapshot.as_of)
        .join(Step, col(Step.job_id) == col(SegmentSnapshot.job_id))
        .where(
            SegmentSnapshot.label_set == snapshot.label_set,
            SegmentSnapshot.model_version_id == snapshot.model_version_id,
            SegmentSnapshot.state == SnapshotState.PUBLISHED,
            SegmentSnapshot.id != snapshot.id,
            Step.stage == stage,
            col(Step.state).in_(_EXPECTED),
        )
        .order_by(col(SegmentSnapshot.id).desc())
        .limit(1)
    )
    newest = session.exec(earlier).first()
    return newest is not None and newest.date() == snapshot.as_of.date()
