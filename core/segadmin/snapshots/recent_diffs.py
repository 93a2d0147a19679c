"""The differences that were computed last, in memory: the pages and the cells of one are often read together."""

from __future__ import annotations

from segadmin.settings import Settings
from segadmin.snapshots.diff import SnapshotDiff, diff
from segadmin.snapshots.recent import Recent
from segadmin.storage.records import SegmentSnapshot

_recent = Recent[SnapshotDiff](3, ("assignments",))


def recent_diff(settings: Settings, earlier: SegmentSnapshot, later: SegmentSnapshot) -> SnapshotDiff:
    """Return the difference of two snapshots, from memory if it was computed lately and no user was erased since."""
    return _recent.get(settings, (earlier.id, later.id), lambda: diff(settings, earlier, later))
