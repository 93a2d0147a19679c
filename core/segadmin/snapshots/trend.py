"""The sizes of segments over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from segadmin.storage.records import SegmentSnapshot, SegmentSummary, SnapshotState


@dataclass(frozen=True)
class Trend:
    """The sizes of the segments of a label set in some snapshots, the oldest first."""

    snapshot_ids: Sequence[int]
    as_of: Sequence[datetime]  #: of each snapshot
    users: dict[str, list[int | None]]  #: segment → users in each snapshot; ``None``: the model had no such segment

    def change(self, segment: str) -> int | None:
        """Return by how many users a segment grew since the snapshot before; ``None`` where one of them lacks it."""
        before, now = ([None, None, *self.users.get(segment, [])])[-2:]
        return None if before is None or now is None else now - before

    def by_moment(self) -> Trend:
        """Return the last snapshot of each moment, in the order of the moments, as charts over time need it."""
        last = {at: n for n, at in enumerate(self.as_of)}
        places = [last[at] for at in sorted(last)]
        users = {name: [sizes[n] for n in places] for name, sizes in self.users.items()}
        return Trend([self.snapshot_ids[n] for n in places], [self.as_of[n] for n in places], users)


def segment_trend(session: Session, label_set: str, until: int | None = None, limit: int = 60) -> Trend:
    """Return the sizes in the newest published snapshots.

    Args:
        session: of the database.
        label_set: whose snapshots.
        until: the last one; ``None``: the newest.
        limit: at most so many snapshots.
    """
    published = select(SegmentSnapshot).where(
        SegmentSnapshot.label_set == label_set, SegmentSnapshot.state == SnapshotState.PUBLISHED
    )
    if until is not None:
        published = published.where(col(SegmentSnapshot.id) <= until)
    newest = session.exec(published.order_by(col(SegmentSnapshot.id).desc()).limit(limit)).all()
    snapshots = newest[::-1]
    numbers = [snapshot.id or 0 for snapshot in snapshots]
    place = {number: n for n, number in enumerate(numbers)}
    rows = session.exec(
        select(SegmentSummary).where(col(SegmentSummary.snapshot_id).in_(numbers)).order_by(col(SegmentSummary.id))
    ).all()
    users: dict[str, list[int | None]] = {}
    for row in reversed(rows):  # the order of the newest model
        users.setdefault(row.segment, [None] * len(numbers))[place[row.snapshot_id]] = row.users
    newest_first = [row.segment for row in rows if row.snapshot_id == (numbers[-1] if numbers else None)]
    ordered = {name: users[name] for name in dict.fromkeys([*newest_first, *users])}
    return Trend(numbers, [snapshot.as_of for snapshot in snapshots], ordered)
