"""The stage ``monitor``: after a snapshot was published, what drifted, and how good it probably is."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from segadmin.errors import StorageError
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.plugin_guard import calling
from segadmin.jobs.registry import Stage
from segadmin.models.manifest import manifest_of
from segadmin.storage.database import reading
from segadmin.storage.records import DriftReport, ModelVersion, SegmentSnapshot
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.published import is_of_day_of, snapshot_of, still_there
from segadmin.workflows.scored import scoring_of
from segadmin.workflows.scoring_groups import groups_of
from segadmin.workflows.textualize import texts_to_score

if TYPE_CHECKING:
    import polars as pl
    from sqlmodel import Session

    from segadmin.contracts.backbone import Backbone, TokenCounts
    from segadmin.contracts.plugins import Plugins

log = logging.getLogger(__name__)


class MonitorOutput(StageOutput):
    """What the report says in short."""

    stage: ClassVar[str] = "monitor"

    drifted: int = 0
    alarms: tuple[str, ...] = ()


def monitor(attempt: Attempt) -> StageResult:
    """Store the drift report of the snapshot that this job published, and tell plugins if it has alarms."""
    from sqlmodel import col, delete, select

    from segadmin.contracts.plugins import load_plugins
    from segadmin.monitoring.report import make_report

    settings, prepared = attempt.settings, attempt.output(PreparedSegments)
    with reading(settings) as session:
        snapshot = snapshot_of(session, attempt.job_id)
        if snapshot is None or _is_known(session, snapshot):
            return StageResult(MonitorOutput())
        version = session.get_one(ModelVersion, snapshot.model_version_id)
    number = snapshot.id
    assert number is not None
    plugins = load_plugins(settings)
    text = still_there(settings, prepared.text)
    plan = groups_of(settings, text, scoring_of(attempt, prepared))[0].plan
    has_texts = plan.recipe == prepared.recipe
    textualizer = plugins.find("textualizer", plan.recipe.textualizer)
    report = make_report(
        settings,
        number,
        plan,
        texts=partial(_texts, attempt) if has_texts else None,
        count=partial(_count_tokens, attempt, plugins, version),
        call=partial(calling, attempt, textualizer, "phrases"),
        progress=attempt.progress,
    )
    facts = {"drifted": report.drifted, "alarms": list(report.alarms)}

    def commit(session: Session) -> Json:
        session.exec(delete(DriftReport).where(col(DriftReport.snapshot_id) == number))
        session.add(report)
        return {}

    def after() -> None:
        if facts["alarms"]:
            log.warning("drift detected", extra={"action": "monitor", "snapshot_id": number, **facts})
            with reading(settings) as session:
                stored = session.exec(select(DriftReport).where(DriftReport.snapshot_id == number)).one()
            plugins.announce("drift_detected", report=stored)

    return StageResult(MonitorOutput(drifted=report.drifted, alarms=tuple(report.alarms)), commit=commit, after=after)


def _texts(attempt: Attempt, buckets: range) -> pl.DataFrame | None:
    """Return the texts that this job has read; ``None`` if they are gone, as after an erasure."""
    try:
        return texts_to_score(attempt, buckets).collect()
    except StorageError:
        return None


def _count_tokens(attempt: Attempt, plugins: Plugins, version: ModelVersion, phrases: pl.Series) -> TokenCounts | None:
    """Return how the tokenizer of a model version reads texts; ``None`` if it has none."""
    from segadmin.files import inside

    backbone: Backbone = plugins.make("backbone", version.backbone, manifest_of(version).backbone_options)
    with calling(attempt, plugins.find("backbone", version.backbone), "count_tokens"):
        return backbone.count_tokens(inside(attempt.settings.store_path, version.folder), attempt.settings, phrases)


def _is_known(session: Session, snapshot: SegmentSnapshot) -> bool:
    """Whether a snapshot of few changes follows one of the same day and model that has a report.

    A report reads the texts of some thousand users, which would take longer than such a refresh.
    """
    from sqlmodel import select

    reported = select(SegmentSnapshot.as_of).join(DriftReport)
    return bool(snapshot.carried) and is_of_day_of(session, snapshot, reported)


MONITOR = Stage("monitor", monitor, after=("publish",), may_fail=True, cost=2)
