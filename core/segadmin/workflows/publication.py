"""What a job that scored users publishes: the rows of its snapshot, and what is counted of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import polars as pl

from segadmin.jobs.attempt import Attempt, Json
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.settings import Settings
from segadmin.snapshots.changes import Base, Changes, causes_of_models, changes_of, with_causes
from segadmin.snapshots.overrides import Overrides, without_hysteresis
from segadmin.snapshots.publish import SnapshotFacts, count_corrected, count_moved
from segadmin.snapshots.read import summaries
from segadmin.snapshots.summary import summarise
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.storage.schema import ASSIGNMENTS
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.scored import ScoreOutput, Scoring, scoring_of


@dataclass(frozen=True)
class Publication:
    """What the steps before found out, and the snapshot that holds for the users whom they did not score."""

    settings: Settings
    prepared: PreparedSegments
    scoring: Scoring
    steps: Sequence[ScoreOutput]
    lake: Lake  #: as it was when the job began
    users: pl.DataFrame  #: ``user_key`` of all users
    scored: pl.DataFrame  #: the users who were scored
    unchanged: pl.DataFrame | None  #: users whose text was read and did not change, see :func:`changes_of`
    base: Base | None  #: ``None``: all users were scored
    overrides: Overrides

    @classmethod
    def of(cls, attempt: Attempt) -> Publication:
        """Read the outputs of the steps before, and the users of the snapshot that holds for the others."""
        settings, prepared, steps = attempt.settings, attempt.output(PreparedSegments), attempt.outputs(ScoreOutput)
        scoring, lake = scoring_of(attempt, prepared), Lake.of(settings, prepared.text.lake)
        margins = scoring.refresh.margins if scoring.refresh else None
        unchanged = [attempt.read(step.unchanged) for step in steps if step.unchanged]
        return cls(
            settings,
            prepared,
            scoring,
            steps,
            lake,
            users=lake.scan("users").select("user_key").unique().collect(),
            # Steps of an older release lack columns.
            scored=pl.concat([attempt.read(step.scores) for step in steps], how="diagonal"),
            unchanged=pl.concat(unchanged) if unchanged else None,
            base=_base(settings, scoring),
            overrides=Overrides.read(settings, prepared.label_set, _orders(settings, scoring), margins),
        )

    @cached_property
    def rewritten(self) -> pl.DataFrame | None:
        """The rows of users who were not scored and whose overrides began or ended; ``None`` if all were scored."""
        if self.base is None:
            return None
        others = self.base.users.join(self.scored.select("user_key"), on="user_key", how="anti")
        return self.overrides.of_carried(self.base.rows_of(self.overrides.concerned(others)))

    @property
    def is_nothing_new(self) -> bool:
        """Whether the snapshot would be the same as the current one."""
        if self.base is None or self.rewritten is None or self.scored.height or self.rewritten.height:
            return False
        with reading(self.settings) as session:
            if pointed(session, current_snapshot(self.prepared.label_set)) != self.base.snapshot.id:
                return False
        known = self.base.users
        return known.height == self.users.height and known.join(self.users, on="user_key", how="anti").is_empty()

    def before(self, snapshot_id: int | None) -> pl.DataFrame:
        """Return the users of the snapshot that was current until now, with what decided about their segments."""
        if self.base is not None and self.base.snapshot.id == snapshot_id:
            return self.base.users
        if snapshot_id is None:
            return pl.DataFrame(schema=ASSIGNMENTS)
        with reading(self.settings) as session:
            snapshot = session.get_one(SegmentSnapshot, snapshot_id)
        return Base.read(self.settings, snapshot).users

    def changes(self, number: int, before: pl.DataFrame) -> Changes:
        """Return what the snapshot ``number`` changes; ``before``: see :meth:`before`."""
        causes = with_causes(self.scored, before, causes_of_models(self.settings, before, self.scored))
        return changes_of(
            self.settings,
            number,
            self.overrides.of_scored(causes, before),
            self.users,
            self.base,
            unchanged=self.unchanged,
            rewritten=self.rewritten,
        )

    def facts(self, previous: int | None, before: pl.DataFrame, changes: Changes) -> SnapshotFacts:
        """Return what is stored with the snapshot.

        Args:
            previous: the snapshot that was current until now.
            before: its users.
            changes: see :meth:`changes`.
        """
        prepared, scored = self.prepared, self.scored.height
        everyone_read_at: datetime | None = prepared.window.as_of
        if self.base is not None and not self.scoring.reads_everyone:
            everyone_read_at = self.base.snapshot.everyone_read_at
        return SnapshotFacts(
            previous_id=previous,
            earlier_parts=list(changes.earlier_parts),
            users=changes.users.height,
            rescored=scored,
            rescored_by=changes.rescored_by,
            carried=changes.users.height - scored,
            moved=count_moved(before, changes.users),
            lake_versions=prepared.text.lake or {},
            everyone_read_at=everyone_read_at,
            newest_event=self.lake.latest_event,
            canary_id=self._canary_id,
            inference=_combined(facts for step in self.steps for facts in (step.inference, step.canary_inference)),
            corrected=count_corrected(changes.users),
            moved_without_hysteresis=self._moved_without_hysteresis(before, changes.users),
        )

    def summaries(self, previous: int | None, users: pl.DataFrame) -> list[Json]:
        """Return the summary of every segment.

        The distinctive categories are those of the snapshot before, if the same model made it: the stage
        ``segment_profiles`` replaces them where it computes profiles.

        Args:
            previous: the snapshot that was current until now.
            users: all users of the new one.
        """
        known: dict[str, list[Json]] = {}
        if previous is not None:
            with reading(self.settings) as session:
                if session.get_one(SegmentSnapshot, previous).model_version_id == self.scoring.version_id:
                    known = {row.segment: row.distinctive for row in summaries(session, previous)}
        return summarise(users, self.prepared.segments, known)

    @property
    def _canary_id(self) -> int | None:
        """The canary whose challenger has scored users, if any; a challenger that failed may have scored none."""
        canary = self.scoring.canary
        return None if canary is None or all(step.canary_failure for step in self.steps) else canary.canary_id

    def _moved_without_hysteresis(self, before: pl.DataFrame, users: pl.DataFrame) -> int | None:
        """Return how many users would be in another segment than before if hysteresis held nobody back."""
        if self.overrides.margins is None:
            return None
        return count_moved(*(rows.with_columns(segment=without_hysteresis()) for rows in (before, users)))


def _base(settings: Settings, scoring: Scoring) -> Base | None:
    if scoring.refresh is None or scoring.refresh.everyone:
        return None
    with reading(settings) as session:
        snapshot = session.get_one(SegmentSnapshot, scoring.refresh.snapshot_id)
    return Base.read(settings, snapshot)


def _orders(settings: Settings, scoring: Scoring) -> dict[int, list[str]]:
    """Return the segments of each model that scores, that of the snapshot first."""
    with reading(settings) as session:
        return {version: session.get_one(ModelVersion, version).segments for version in scoring.versions}


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
