"""The stage ``segment_profiles``: after a snapshot was published, what distinguishes the users of each segment.

It reads all events, which takes longer than a refresh of few users, so nothing waits for it: until it is done, the
profiles of the snapshot before hold. They are computed once a day of the events' time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.registry import Stage
from segadmin.storage.database import reading
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.published import snapshot_of, still_there

if TYPE_CHECKING:
    from sqlmodel import Session


class SegmentProfilesOutput(StageOutput):
    """How many segments were profiled; none where the profiles of earlier that day hold."""

    stage: ClassVar[str] = "segment_profiles"

    segments: int = 0


def segment_profiles(attempt: Attempt) -> StageResult:
    """Store the profiles of the snapshot that this job published, if there are none of that day."""
    from segadmin.snapshots.profiles import has_profiles, store_profiles
    from segadmin.snapshots.read import assignments
    from segadmin.snapshots.summary import profile_segments
    from segadmin.storage.lake import Lake

    settings, prepared = attempt.settings, attempt.output(PreparedSegments)
    with reading(settings) as session:
        snapshot = snapshot_of(session, attempt.job_id)
        if snapshot is None or (snapshot.carried and has_profiles(session, snapshot)):
            return StageResult(SegmentProfilesOutput())
    users = assignments(settings, snapshot.id or 0).select("bucket", "user_key", "segment").collect()
    lake = Lake.of(settings, still_there(settings, prepared.text).lake)
    profiles = profile_segments(lake, users, prepared.window, progress=attempt.progress)

    def commit(session: Session) -> Json:
        store_profiles(session, snapshot, profiles)
        return {}

    return StageResult(SegmentProfilesOutput(segments=len(profiles)), commit=commit)


SEGMENT_PROFILES = Stage("segment_profiles", segment_profiles, after=("publish",), may_fail=True, cost=2)
