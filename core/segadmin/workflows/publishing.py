"""The last stage of jobs that score users: what changed becomes a snapshot."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.import_lock import users_stay
from segadmin.storage.records import SegmentSnapshot
from segadmin.workflows.published import is_expected, overtaken_by, snapshot_of

if TYPE_CHECKING:
    from sqlmodel import Session

    from segadmin.snapshots.freshness import Arrived
    from segadmin.storage.lake import Lake

log = logging.getLogger(__name__)
#: Stages after publication that read thousands of users or all events: once a day of the events' time.
_DAILY = ("monitor", "segment_profiles")


class PublishOutput(StageOutput):
    """The snapshot, and what is counted of it: all set by the transaction that publishes it."""

    stage: ClassVar[str] = "publish"

    snapshot_id: int | None = None
    users: int | None = None
    rescored: int | None = None
    rescored_by: dict[str, int] = {}  #: cause → users
    carried: int | None = None
    moved: int | None = None
    moved_without_hysteresis: int | None = None  #: ``None``: hysteresis was not used
    unchanged: bool = False  #: nothing was published; ``snapshot_id`` is the snapshot that stays current
    overtaken: bool = False  #: with ``unchanged``: it became current since the job began
    as_of: datetime | None = None  #: just after the newest event
    went_back_from: datetime | None = None  #: of the snapshot before, if that is later: events were removed


def publish(attempt: Attempt) -> StageResult:
    """Put the scores in the lake as one snapshot and make it the current one of its label set.

    Where nothing changed since the current snapshot, nothing is published; nor by a job that was retried after others
    have published. What only looks at a snapshot comes after this stage, and is skipped where that was done earlier on
    the same day.
    """
    from segadmin.snapshots.publish import begin_snapshot, commit_assignments, make_current
    from segadmin.snapshots.read import went_back_from
    from segadmin.workflows.publication import Publication

    settings = attempt.settings
    with reading(settings) as session:
        if (own := snapshot_of(session, attempt.job_id)) is not None:  # the whole job is repeated
            return StageResult(_published(own))
    publication = Publication.of(attempt)
    prepared, base = publication.prepared, publication.base
    if (newer := overtaken_by(attempt, prepared)) is not None:
        return StageResult(_stays(newer, overtaken=True), skip=_DAILY)
    if base is not None and publication.is_nothing_new:
        return StageResult(_stays(base.snapshot), skip=_DAILY)
    version, as_of = publication.scoring.version_id, prepared.window.as_of
    snapshot, previous = begin_snapshot(settings, attempt.job_id, prepared.label_set, version, as_of)
    number = snapshot.id
    assert number is not None
    before = publication.before(previous)
    changes = publication.changes(number, before)
    attempt.progress(0.3, "writing the assignments")
    commit_assignments(settings, number, changes.rows)
    attempt.reach("publish")
    attempt.progress(0.6, "summing up")
    facts = publication.facts(previous, before, changes)
    summaries = publication.summaries(previous, changes.users)
    arrived = _arrived(settings, publication.lake, prepared.label_set)
    published: list[SegmentSnapshot] = []
    earlier: list[datetime | None] = []

    def commit(session: Session) -> Json:
        published[:] = [make_current(session, number, facts, summaries, arrived=arrived)]
        earlier[:] = [went_back_from(session, published[0])]
        return _published(published[0], *earlier).as_json()

    def after() -> None:
        facts = {"action": "publish", "label_set": prepared.label_set, **_published(published[0], *earlier).as_json()}
        log.info("snapshot published", extra=facts)
        if any(earlier):
            log.warning(
                "the newest events were removed, so the snapshot is as of earlier than the one before", extra=facts
            )
        _write_changes(settings, prepared.label_set)
        load_plugins(settings).announce("snapshot_published", snapshot=published[0])

    return StageResult(PublishOutput(), commit=commit, after=after, skip=_not_due(settings, snapshot, facts.carried))


def _not_due(settings: Settings, snapshot: SegmentSnapshot, carried: int) -> tuple[str, ...]:
    """Return the stages that need not follow a snapshot: those of the day, unless all users were scored."""
    if not carried:
        return ()
    with reading(settings) as session:
        return tuple(stage for stage in _DAILY if is_expected(session, stage, snapshot))


def _write_changes(settings: Settings, label_set: str) -> None:
    """Write the records of the feed. If this fails or is killed, the next publication or delivery writes them."""
    from segadmin.snapshots.feed import write_changes

    try:
        with users_stay(settings):
            write_changes(settings, label_set)
    except Exception:  # the snapshot is published, and its hooks must be called
        log.exception("the changes could not be written", extra={"action": "feed", "label_set": label_set})


def _arrived(settings: Settings, lake: Lake, label_set: str) -> Arrived | None:
    """Return the events that the snapshot adds to the one that was published before."""
    from segadmin.snapshots.freshness import arrived_since, newest_snapshot

    with reading(settings) as session:
        before = newest_snapshot(session, label_set)
    return arrived_since(lake, before)


def _stays(snapshot: SegmentSnapshot, *, overtaken: bool = False) -> PublishOutput:
    """Return that nothing was published."""
    nothing = {"unchanged": True, "rescored": 0, "rescored_by": {}, "carried": snapshot.users, "moved": 0}
    return _published(snapshot).model_copy(update={**nothing, "overtaken": overtaken})


def _published(snapshot: SegmentSnapshot, went_back_from: datetime | None = None) -> PublishOutput:
    return PublishOutput(
        as_of=snapshot.as_of,
        went_back_from=went_back_from,
        snapshot_id=snapshot.id,
        users=snapshot.users,
        rescored=snapshot.rescored,
        rescored_by=snapshot.rescored_by,
        carried=snapshot.carried,
        moved=snapshot.moved,
        moved_without_hysteresis=snapshot.moved_without_hysteresis,
    )
