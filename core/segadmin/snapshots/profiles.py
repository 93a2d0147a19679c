"""Stores and finds the profiles of segments: those of a snapshot, or of the one before it that has some."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import case
from sqlmodel import Session, col, delete, select

from segadmin.snapshots.segment_profile import SegmentProfile
from segadmin.snapshots.summary import distinctive
from segadmin.storage.records import SegmentProfileRow, SegmentSnapshot, SegmentSummary, SnapshotState


def store_profiles(session: Session, snapshot: SegmentSnapshot, profiles: Mapping[str, SegmentProfile]) -> None:
    """Store the profiles of a published snapshot, and its segments' distinctive categories.

    Snapshots that were published since took the categories over from before, so they get them too.
    """
    number = snapshot.id or 0
    session.exec(delete(SegmentProfileRow).where(col(SegmentProfileRow.snapshot_id) == number))
    session.add_all(
        SegmentProfileRow(snapshot_id=number, segment=segment, profile=profile.model_dump(mode="json"))
        for segment, profile in profiles.items()
    )
    session.flush()
    since = select(SegmentSnapshot).where(
        SegmentSnapshot.label_set == snapshot.label_set,
        SegmentSnapshot.model_version_id == snapshot.model_version_id,
        SegmentSnapshot.state == SnapshotState.PUBLISHED,
        col(SegmentSnapshot.id) >= number,
    )
    described = [each.id for each in session.exec(since).all() if _newest(session, each) == number]
    rows = session.exec(select(SegmentSummary).where(col(SegmentSummary.snapshot_id).in_(described))).all()
    for row in rows:
        row.distinctive = distinctive(profiles[row.segment]) if row.segment in profiles else []
    session.add_all(rows)


def find_profiles(session: Session, snapshot: SegmentSnapshot) -> dict[str, SegmentProfile]:
    """Return the profile of each segment as of a snapshot; none if its release did not compute any.

    Profiles are computed once a day of the events' time, so they may be some hours older than the snapshot.
    """
    number = _newest(session, snapshot)
    if number is None:
        return {}
    rows = session.exec(select(SegmentProfileRow).where(SegmentProfileRow.snapshot_id == number)).all()
    return {row.segment: SegmentProfile.model_validate(row.profile) for row in rows}


def has_profiles(session: Session, snapshot: SegmentSnapshot) -> bool:
    """Whether profiles of the same day of the events' time and model are stored for a snapshot, or one before it."""
    number = _newest(session, snapshot)
    if number is None:
        return False
    of = session.get_one(SegmentSnapshot, number)
    return of.as_of.date() == snapshot.as_of.date() and of.model_version_id == snapshot.model_version_id


def _newest(session: Session, snapshot: SegmentSnapshot) -> int | None:
    """Return the newest snapshot of the label set, up to ``snapshot``, that has profiles; one by the same model first.

    After a rollback, snapshots by another model are between.
    """
    is_same = col(SegmentSnapshot.model_version_id) == snapshot.model_version_id
    query = (
        select(SegmentProfileRow.snapshot_id)
        .join(SegmentSnapshot, col(SegmentSnapshot.id) == col(SegmentProfileRow.snapshot_id))
        .where(
            SegmentSnapshot.label_set == snapshot.label_set,
            SegmentSnapshot.state == SnapshotState.PUBLISHED,
            col(SegmentSnapshot.id) <= (snapshot.id or 0),
        )
        .order_by(case((is_same, 0), else_=1), col(SegmentSnapshot.id).desc())
        .limit(1)
    )
    return session.exec(query).first()
