"""Everything that is shown of a segment of the current snapshot: for pages, the HTTP API and the CLI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.settings import Settings
from segadmin.snapshots.descriptions import description_of, descriptions_of
from segadmin.snapshots.diff import find_two
from segadmin.snapshots.profiles import find_profiles
from segadmin.snapshots.read import find_snapshot, summaries
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.snapshots.segment_calibration import SegmentCalibration, segment_calibration
from segadmin.snapshots.segment_profile import SegmentProfile
from segadmin.storage.database import reading
from segadmin.storage.records import ModelVersion, SegmentDescription, SegmentSnapshot, SegmentSummary


@dataclass(frozen=True)
class SegmentMovement:
    """Who came into a segment since the snapshot before, and who left it."""

    earlier: int  #: number of the snapshot before
    stayed: int
    entered: tuple[tuple[str | None, int], ...]  #: from which segment how many; ``None``: new users
    left: tuple[tuple[str | None, int], ...]  #: to which segment how many; ``None``: in no segment now


@dataclass(frozen=True)
class SegmentView:
    """A segment of the current snapshot of a label set."""

    snapshot: SegmentSnapshot
    version: ModelVersion
    summary: SegmentSummary
    others: tuple[str, ...]  #: the other segments
    profile: SegmentProfile | None  #: ``None``: its release did not compute any, or nobody was in the segment
    description: SegmentDescription  #: of revision 0 if nobody wrote one
    history: Sequence[SegmentDescription]  #: all versions, newest first


def view_segment(settings: Settings, label_set: str, segment: str) -> SegmentView:
    """Return a segment of the current snapshot.

    Raises:
        SnapshotNotFound: there is no such label set with a snapshot.
        ConfigurationError: it has no such segment.
    """
    with reading(settings) as session:
        snapshot = find_snapshot(session, "current", label_set)
        rows = {row.segment: row for row in summaries(session, snapshot.id or 0)}
        if segment not in rows:
            raise ConfigurationError(
                f"Snapshot {snapshot.id} has no segment {segment!r}.{did_you_mean(segment, rows)} "
                "See: segadmin segments list"
            )
        return SegmentView(
            snapshot=snapshot,
            version=session.get_one(ModelVersion, snapshot.model_version_id),
            summary=rows[segment],
            others=tuple(name for name in rows if name != segment),
            profile=find_profiles(session, snapshot).get(segment),
            description=description_of(session, label_set, segment),
            history=descriptions_of(session, label_set, segment),
        )


def movement_of(settings: Settings, snapshot: SegmentSnapshot, segment: str) -> SegmentMovement | None:
    """Return who came into a segment of a snapshot and who left it; ``None`` for the first snapshot."""
    if snapshot.previous_id is None:
        return None
    with reading(settings) as session:
        pair = find_two(session, str(snapshot.previous_id), str(snapshot.id))
    matrix = recent_diff(settings, *pair).matrix
    entered = [(before, users) for (before, after), users in matrix.items() if after == segment != before]
    left = [(after, users) for (before, after), users in matrix.items() if before == segment != after]
    return SegmentMovement(
        earlier=snapshot.previous_id,
        stayed=matrix.get((segment, segment), 0),
        entered=tuple(sorted(entered, key=_most_first)),
        left=tuple(sorted(left, key=_most_first)),
    )


def calibration_of(settings: Settings, view: SegmentView) -> SegmentCalibration | None:
    """Return the calibration of the model for the segment, see :func:`segment_calibration`."""
    return segment_calibration(settings, view.version, view.summary.segment)


def _most_first(pair: tuple[str | None, int]) -> tuple[int, str]:
    return -pair[1], pair[0] or ""
