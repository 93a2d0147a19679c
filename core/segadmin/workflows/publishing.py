"""The last stage of jobs that score users: what changed becomes a snapshot."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.import_lock import users_stay
from segadmin.storage.records import ModelVersion, SegmentSnapshot, SnapshotState
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.scored import ScoreOutput, scoring_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl
    from sqlmodel import Session

    from segadmin.snapshots.overrides import Overrides
    from segadmin.snapshots.policy import Cause
    from segadmin.storage.lake import Lake

log = logging.getLogger(__name__)


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


def publish(attempt: Attempt) -> StageResult:
    """Put the scores in the lake as one snapshot and make it the current one of its label set.

    Where nothing changed since the current snapshot, nothing is published.
    """
    import polars as pl

    from segadmin.snapshots.changes import changes_of, with_causes
    from segadmin.snapshots.overrides import Overrides, without_hysteresis
    from segadmin.snapshots.publish import (
        SnapshotFacts,
        begin_snapshot,
        commit_assignments,
        count_corrected,
        count_moved,
        make_current,
    )
    from segadmin.storage.lake import Lake

    settings, prepared, steps = attempt.settings, attempt.output(PreparedSegments), attempt.outputs(ScoreOutput)
    lake = Lake.of(settings, prepared.text.lake)
    users = lake.scan("users").select("user_key").unique().collect()
    scored = pl.concat([attempt.read(step.scores) for step in steps])
    base, margins = _base(settings, prepared), prepared.refresh.margins if prepared.refresh else None
    overrides = Overrides.read(settings, prepared.label_set, prepared.segments, margins)
    rewritten = _rewritten(settings, base, scored, overrides)
    is_same = scored.is_empty() and rewritten is not None and rewritten.is_empty()
    if base is not None and is_same and _is_current(settings, base, users):
        unchanged = {"unchanged": True, "rescored": 0, "rescored_by": {}, "carried": base.users, "moved": 0}
        return StageResult(_published(base).model_copy(update=unchanged))
    version_id = scoring_version(attempt, prepared)
    snapshot, previous = begin_snapshot(settings, attempt.job_id, prepared.label_set, version_id, prepared.window.as_of)
    number = snapshot.id
    assert number is not None
    if snapshot.state == SnapshotState.PUBLISHED:
        return StageResult(_published(snapshot))
    before = _before(settings, previous)
    causes = with_causes(scored, before, _cause_of_model(settings, previous, version_id))
    changes = changes_of(settings, number, overrides.of_scored(causes, before), users, base, rewritten=rewritten)
    paths = [rows.with_columns(segment=without_hysteresis()) for rows in (before, changes.users)]
    attempt.progress(0.3, "writing the assignments")
    commit_assignments(settings, number, changes.rows)
    attempt.reach("publish")
    attempt.progress(0.6, "summing up")
    facts = SnapshotFacts(
        previous_id=previous,
        earlier_parts=list(changes.earlier_parts),
        users=changes.users.height,
        rescored=scored.height,
        rescored_by=changes.rescored_by,
        carried=changes.users.height - scored.height,
        moved=count_moved(before, changes.users),
        lake_versions=prepared.text.lake or {},
        everyone_read_at=prepared.window.as_of if prepared.reads_everyone or base is None else base.everyone_read_at,
        inference=_combined(step.inference for step in steps),
        corrected=count_corrected(changes.users),
        moved_without_hysteresis=None if margins is None else count_moved(*paths),
    )
    summaries = _summaries(settings, lake, prepared, changes.users, base)
    published: list[SegmentSnapshot] = []

    def commit(session: Session) -> Json:
        published[:] = [make_current(session, number, facts, summaries)]
        return _published(published[0]).as_json()

    def after() -> None:
        facts = {"action": "publish", "label_set": prepared.label_set, **_published(published[0]).as_json()}
        log.info("snapshot published", extra=facts)
        _write_changes(settings, prepared.label_set)
        load_plugins(settings).announce("snapshot_published", snapshot=published[0])

    return StageResult(PublishOutput(), commit=commit, after=after)


def _write_changes(settings: Settings, label_set: str) -> None:
    """Write the records of the feed. If this fails or is killed, the next publication or delivery writes them."""
    from segadmin.snapshots.feed import write_changes

    try:
        with users_stay(settings):
            write_changes(settings, label_set)
    except Exception:  # the snapshot is published, and its hooks must be called
        log.exception("the changes could not be written", extra={"action": "feed", "label_set": label_set})


def _base(settings: Settings, prepared: PreparedSegments) -> SegmentSnapshot | None:
    """Return the snapshot that holds for the users who were not scored; ``None`` if all were."""
    refresh = prepared.refresh
    if refresh is None or refresh.everyone:
        return None
    with reading(settings) as session:
        return session.get_one(SegmentSnapshot, refresh.snapshot_id)


def _rewritten(
    settings: Settings, base: SegmentSnapshot | None, scored: pl.DataFrame, overrides: Overrides
) -> pl.DataFrame | None:
    """Return the rows of the users who were not scored and whose overrides began or ended; ``None`` if all were."""
    from segadmin.snapshots.read import assignments

    if base is None:
        return None
    rows = assignments(settings, base.id or 0)
    return overrides.of_carried(rows.join(scored.lazy().select("user_key"), on="user_key", how="anti"))


def _before(settings: Settings, snapshot_id: int | None) -> pl.DataFrame:
    """Return the users of a snapshot, with what decided about their segments; none if there is no snapshot."""
    import polars as pl

    from segadmin.snapshots.read import assignments
    from segadmin.storage.schema import ASSIGNMENTS

    columns = ("user_key", "segment", "overridden_by", "model_segment", "model_version_id")
    rows = pl.LazyFrame(schema=ASSIGNMENTS) if snapshot_id is None else assignments(settings, snapshot_id)
    return rows.select(columns).collect()


def _is_current(settings: Settings, snapshot: SegmentSnapshot, users: pl.DataFrame) -> bool:
    """Whether a snapshot is current and has exactly these users."""
    from segadmin.models.aliases import current_snapshot, pointed
    from segadmin.snapshots.read import segments_of

    with reading(settings) as session:
        if pointed(session, current_snapshot(snapshot.label_set)) != snapshot.id:
            return False
    assigned = segments_of(settings, snapshot.id or 0)
    return assigned.height == users.height and assigned.join(users, on="user_key", how="anti").is_empty()


def _cause_of_model(settings: Settings, previous: int | None, version_id: int) -> Cause | None:
    """Return why the users of the snapshot ``previous`` were scored, if another model made it."""
    from segadmin.snapshots.changes import cause_of_another_model

    if previous is None:
        return None
    with reading(settings) as session:
        before = session.get_one(ModelVersion, session.get_one(SegmentSnapshot, previous).model_version_id)
        return cause_of_another_model(before, session.get_one(ModelVersion, version_id))


def _summaries(
    settings: Settings, lake: Lake, prepared: PreparedSegments, users: pl.DataFrame, base: SegmentSnapshot | None
) -> list[Json]:
    """Return the summary of every segment.

    Distinctive categories need all events. They are computed once a day of the events' time, and taken over until then.
    """
    from segadmin.snapshots.read import summaries
    from segadmin.snapshots.summary import distinctive, summarise

    if base is None or base.as_of.date() != prepared.window.as_of.date():
        return summarise(users, prepared.segments, distinctive(lake, users, prepared.window))
    with reading(settings) as session:
        known = {row.segment: row.distinctive for row in summaries(session, base.id or 0)}
    return summarise(users, prepared.segments, known)


def _combined(inferences: Iterable[Json]) -> list[Json]:
    """Return the different ways of computing, each with the least agreement that was measured of it."""
    ways: dict[tuple[str, ...], Json] = {}
    for facts in filter(None, inferences):
        way = {name: facts.get(name, "") for name in ("engine", "precision", "device")}
        known = ways.setdefault(tuple(way.values()), way)
        for name, worse in (("agreement", min), ("difference", max), ("language_model_fraction", max)):
            if name in facts:
                known[name] = worse(facts[name], known.get(name, facts[name]))
    return list(ways.values())


def _published(snapshot: SegmentSnapshot) -> PublishOutput:
    return PublishOutput(
        snapshot_id=snapshot.id,
        users=snapshot.users,
        rescored=snapshot.rescored,
        rescored_by=snapshot.rescored_by,
        carried=snapshot.carried,
        moved=snapshot.moved,
        moved_without_hysteresis=snapshot.moved_without_hysteresis,
    )
