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
from segadmin.workflows.prepared import PreparedSegments, RefreshPlan
from segadmin.workflows.scored import ScoreOutput, Scoring, scoring_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl
    from sqlmodel import Session

    from segadmin.snapshots.freshness import Arrived
    from segadmin.snapshots.overrides import Overrides
    from segadmin.snapshots.segment_profile import SegmentProfile
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

    from segadmin.snapshots.changes import causes_of_models, changes_of, with_causes
    from segadmin.snapshots.overrides import Overrides
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
    # Steps of an older release lack columns.
    scored = pl.concat([attempt.read(step.scores) for step in steps], how="diagonal")
    scoring = scoring_of(attempt, prepared)
    base, margins = _base(settings, scoring.refresh), scoring.refresh.margins if scoring.refresh else None
    overrides = Overrides.read(settings, prepared.label_set, _orders(settings, scoring), margins)
    rewritten = _rewritten(settings, base, scored, overrides)
    is_same = scored.is_empty() and rewritten is not None and rewritten.is_empty()
    if base is not None and is_same and _is_current(settings, base, users):
        nothing_new = {"unchanged": True, "rescored": 0, "rescored_by": {}, "carried": base.users, "moved": 0}
        return StageResult(_published(base).model_copy(update=nothing_new))
    snapshot, previous = begin_snapshot(
        settings, attempt.job_id, prepared.label_set, scoring.version_id, prepared.window.as_of
    )
    number = snapshot.id
    assert number is not None
    if snapshot.state == SnapshotState.PUBLISHED:
        return StageResult(_published(snapshot))
    before = _before(settings, previous)
    causes = with_causes(scored, before, causes_of_models(settings, before, scored))
    same_texts = [attempt.read(step.unchanged) for step in steps if step.unchanged]
    changes = changes_of(
        settings,
        number,
        overrides.of_scored(causes, before),
        users,
        base,
        unchanged=pl.concat(same_texts) if same_texts else None,
        rewritten=rewritten,
    )
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
        everyone_read_at=prepared.window.as_of if scoring.reads_everyone or base is None else base.everyone_read_at,
        newest_event=lake.latest_event,
        canary_id=_canary_of(scoring, steps),
        inference=_combined(facts for step in steps for facts in (step.inference, step.canary_inference)),
        corrected=count_corrected(changes.users),
        moved_without_hysteresis=None if margins is None else _moved_without_hysteresis(before, changes.users),
    )
    profiles, summaries = _summaries(settings, lake, prepared, changes.users, base)
    arrived = _arrived(settings, lake, prepared.label_set)
    published: list[SegmentSnapshot] = []

    def commit(session: Session) -> Json:
        published[:] = [make_current(session, number, facts, summaries, arrived=arrived, profiles=profiles)]
        return _published(published[0]).as_json()

    def after() -> None:
        facts = {"action": "publish", "label_set": prepared.label_set, **_published(published[0]).as_json()}
        log.info("snapshot published", extra=facts)
        _write_changes(settings, prepared.label_set)
        load_plugins(settings).announce("snapshot_published", snapshot=published[0])

    return StageResult(PublishOutput(), commit=commit, after=after)


def _canary_of(scoring: Scoring, steps: Iterable[ScoreOutput]) -> int | None:
    """Return the canary whose challenger has scored users, if any; a challenger that failed may have scored none."""
    if scoring.canary is None or all(step.canary_failure for step in steps):
        return None
    return scoring.canary.canary_id


def _moved_without_hysteresis(before: pl.DataFrame, users: pl.DataFrame) -> int:
    """Return how many users would be in another segment than before if hysteresis held nobody back."""
    from segadmin.snapshots.overrides import without_hysteresis
    from segadmin.snapshots.publish import count_moved

    return count_moved(*(rows.with_columns(segment=without_hysteresis()) for rows in (before, users)))


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


def _base(settings: Settings, refresh: RefreshPlan | None) -> SegmentSnapshot | None:
    """Return the snapshot that holds for the users who were not scored; ``None`` if all were."""
    if refresh is None or refresh.everyone:
        return None
    with reading(settings) as session:
        return session.get_one(SegmentSnapshot, refresh.snapshot_id)


def _orders(settings: Settings, scoring: Scoring) -> dict[int, list[str]]:
    """Return the segments of each model that scores, that of the snapshot first."""
    with reading(settings) as session:
        return {version: session.get_one(ModelVersion, version).segments for version in scoring.versions}


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


def _summaries(
    settings: Settings, lake: Lake, prepared: PreparedSegments, users: pl.DataFrame, base: SegmentSnapshot | None
) -> tuple[dict[str, SegmentProfile], list[Json]]:
    """Return the profiles of segments that are computed now, and the summary of every segment.

    Profiles need all events. They are computed once a day of the events' time, and hold until then.
    """
    from segadmin.snapshots.profiles import has_profiles
    from segadmin.snapshots.read import summaries
    from segadmin.snapshots.summary import distinctive, profile_segments, summarise

    with reading(settings) as session:
        if base is not None and base.as_of.date() == prepared.window.as_of.date() and has_profiles(session, base):
            known = {row.segment: row.distinctive for row in summaries(session, base.id or 0)}
            return {}, summarise(users, prepared.segments, known)
    profiles = profile_segments(lake, users, prepared.window)
    categories = {segment: distinctive(profile) for segment, profile in profiles.items()}
    return profiles, summarise(users, prepared.segments, categories)


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
