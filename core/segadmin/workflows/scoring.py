"""The ``score`` and ``refresh`` jobs: a model there is puts every user in a segment, and a snapshot is published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.counts import counted
from segadmin.errors import ConfigurationError
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register
from segadmin.models.canary import CanaryShare, end_canary, running_canary
from segadmin.models.manifest import manifest_of
from segadmin.models.usable import why_unusable
from segadmin.models.versions import MadeWith, find_version
from segadmin.settings import Settings
from segadmin.snapshots.policy import TimePolicy
from segadmin.storage.database import reading
from segadmin.storage.records import CanaryState, ModelState, ModelVersion
from segadmin.workflows.canary import CANARY
from segadmin.workflows.follow_up import FOLLOW_UP, stages_to_skip
from segadmin.workflows.monitoring import MONITOR
from segadmin.workflows.prepared import PreparedSegments, RefreshPlan
from segadmin.workflows.published import snapshot_of
from segadmin.workflows.publishing import publish
from segadmin.workflows.score_users import SCORE, SCORE_CHALLENGER
from segadmin.workflows.segment_profiles import SEGMENT_PROFILES
from segadmin.workflows.textualize import TEXTUALIZE, lake_now
from segadmin.workflows.update_request import UpdateRequest, check_policy

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session


class Score(Request):
    """Options of ``score`` and ``refresh``."""

    common: ClassVar[tuple[str, ...]] = ("labels", "model")

    model: str = Field("champion", description="Number of a model version, or `champion`.")
    backbone: Annotated[str | None, Option(short="b")] = Field(
        None, description="Use the newest model with this backbone, unless the champion has it."
    )
    backbone_options: Annotated[dict[str, Any], Option("backbone-option")] = Field(
        {}, description="With --backbone: an option that the model was trained with."
    )
    labels: Annotated[str | None, Option(default="the only label set with a champion")] = Field(
        None, description="Label set."
    )
    force: bool = Field(False, description="Go on although events of the last days seem to be missing.")

    @property
    def made_with(self) -> MadeWith | None:
        """What the model must be made with, if anything."""
        return None if self.backbone is None else MadeWith(self.backbone, self.backbone_options)

    def completed(self, settings: Settings) -> Self:
        """Return the request with its backbone and its labels."""
        request, plugins = self, load_plugins(settings)
        plugins.check_engine()
        if self.backbone is not None:
            name, options = resolve_backbone(plugins, self.backbone, self.backbone_options)
            request = self.model_copy(update={"backbone": name, "backbone_options": options})
        with reading(settings) as session:
            version = find_version(session, request.model, request.labels, request.made_with)
        return request.model_copy(update={"labels": _trained(version).label_set})


def _trained(version: ModelVersion) -> ModelVersion:
    """Return ``version``.

    Raises:
        ConfigurationError: it is pretrained only, and knows no segments.
    """
    if version.state == ModelState.PRETRAINED:
        raise ConfigurationError(
            f"Model version {version.id} is pretrained only and knows no segments. Train it: "
            f"segadmin enqueue retrain --from {version.id}"
        )
    return version


def _margins(version: ModelVersion) -> tuple[float, ...]:
    """Return the margins of hysteresis of a version, by segment.

    Raises:
        ConfigurationError: it has none, because an older release trained it.
    """
    hysteresis = manifest_of(version).hysteresis
    if hysteresis is None:
        raise ConfigurationError(
            f"Model version {version.id} has no margins for --hysteresis: an older release trained it. Leave it out, "
            f"or train again: segadmin enqueue retrain --labels {version.label_set}"
        )
    return hysteresis.margins


class Refresh(UpdateRequest, Score):
    """Options of ``refresh``."""

    common: ClassVar[tuple[str, ...]] = ("labels", "policy")

    time: TimePolicy = Field(
        TimePolicy.EXACT,
        description="How often users without new events are read again, because their text may have changed by the "
        "passing of time: at every refresh, daily, weekly, or only when they have events.",
    )
    hysteresis: bool = Field(
        False,
        description="Move users only to segments that lead their present one by a margin, which was chosen on "
        "validation. The result differs from that of a score of the same data.",
    )

    def completed(self, settings: Settings) -> Self:
        """Return the request with its backbone and its labels; the model must suit its policy and have margins."""
        request = super().completed(settings)
        with reading(settings) as session:
            version = find_version(session, request.model, request.labels, request.made_with)
        if request.hysteresis:
            _margins(version)
        is_champion = request.model == "champion" and request.backbone is None
        check_policy(settings, request, version, is_champion=is_champion)
        return request


class OutcomesOutput(StageOutput):
    """Which earlier snapshots were measured."""

    stage: ClassVar[str] = "outcomes"

    measured: tuple[dict[str, int], ...] = ()  #: ``snapshot_id`` and ``rows``
    note: str = ""


class PreparedScoring(PreparedSegments):
    """A scoring job whose model was found and checked."""

    backbone: str = ""
    backbone_options: dict[str, Any] = {}


def prepare(attempt: Attempt) -> StageResult:
    """Find the model, and check that it is whole and that what it needs is installed here."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.models.artifact import Saved, read_manifest
    from segadmin.monitoring.volume import check_recent_days
    from segadmin.storage.database import transaction
    from segadmin.text.plan import TextPlan
    from segadmin.text.recipes import check_recipe

    kind = Refresh if attempt.job_kind == "refresh" else Score
    request, plugins = kind.model_validate(attempt.options), load_plugins(attempt.settings)
    plugins.check_engine()
    versions, end = lake_now(attempt.settings)
    with transaction(attempt.settings) as session:
        if (published := snapshot_of(session, attempt.job_id)) is not None:  # repeated: the snapshot stays as it is
            end = published.as_of
        version = find_version(session, request.model, request.labels, request.made_with)
        refresh = _refresh_plan(session, request, version, versions, end)
        canary = running_canary(session, version.label_set)
        challenger = None if canary is None else session.get_one(ModelVersion, canary.challenger_id)
    if not request.force:
        check_recent_days(attempt.settings, versions, version.label_set)
    manifest = read_manifest(attempt.settings, Saved(version.folder, version.sha256))
    check_recipe(plugins, manifest.recipe, f"Model version {version.id}")
    plugins.find("backbone", version.backbone)
    unusable = None if challenger is None else why_unusable(attempt.settings, challenger)
    canary = canary if canary is not None and canary.champion_id == version.id and unusable is None else None

    def commit(session: Session) -> Json:
        """Stop a canary whose challenger cannot be used: everybody else must be scored all the same."""
        if unusable is not None and (running := running_canary(session, version.label_set)) is not None:
            end_canary(session, running, CanaryState.STOPPED, f"the challenger cannot be used: {unusable}")
        return {}

    return StageResult(
        PreparedScoring(
            text=TextPlan(recipe=manifest.recipe, scoring=manifest.recipe.window(end), lake=versions),
            label_set=version.label_set,
            segments=tuple(version.segments),
            backbone=version.backbone,
            backbone_options=manifest.backbone_options,
            model_version_id=version.id,
            refresh=refresh,
            canary=None if canary is None else CanaryShare.of(canary),
        ),
        commit=commit,
        skip=(
            *(() if canary is not None else ("score_challenger", "canary")),
            *(stages_to_skip(request.policy) if isinstance(request, Refresh) else ()),
        ),
    )


def _refresh_plan(
    session: Session, request: Score, version: ModelVersion, lake_versions: dict[str, int], end: datetime
) -> RefreshPlan | None:
    """Return how the job goes on from the current snapshot, if there is one that the same model made."""
    from segadmin.workflows.scoring_groups import current_of

    snapshot = current_of(session, version.label_set, version.id)
    if snapshot is None:
        return None
    return RefreshPlan.of(
        snapshot,
        lake_versions,
        everyone=not isinstance(request, Refresh),
        silent=isinstance(request, Refresh) and request.time.is_due(snapshot.everyone_read_at, end),
        margins=_margins(version) if isinstance(request, Refresh) and request.hysteresis else None,
    )


def outcomes(attempt: Attempt) -> StageResult:
    """Measure every snapshot whose users' outcomes are known by now and that was not measured before."""
    from segadmin.labels.labeling import labeler_of
    from segadmin.snapshots.outcomes import measure_outcomes, unmeasured
    from segadmin.storage.database import transaction
    from segadmin.storage.records import Evaluation, LabelSet

    label_set_name = attempt.output(PreparedSegments).label_set
    with transaction(attempt.settings) as session:
        label_set = session.get(LabelSet, label_set_name)
        waiting = unmeasured(session, label_set_name)
    labeler = labeler_of(attempt.settings, label_set)
    if label_set is None or labeler is None:
        reason = f"the labels {label_set_name!r} are not derived from events, so their outcomes cannot be seen"
        return StageResult(OutcomesOutput(note=reason))
    measured: dict[int, list[Json]] = {}
    for n, (snapshot, version) in enumerate(waiting):
        attempt.progress(n / len(waiting), f"snapshot {snapshot.id}")
        if version.segments == label_set.segments:
            rows = measure_outcomes(attempt.settings, labeler, label_set, snapshot)
            measured |= {snapshot.id or 0: rows} if rows else {}
    note = f"the outcomes of {counted(len(waiting), 'snapshot')} are not known yet" if waiting else "all known"

    def commit(session: Session) -> Json:
        session.add_all([Evaluation(job_id=attempt.job_id, **row) for rows in measured.values() for row in rows])
        return {}

    counts = {snapshot: sum(row["rows"] for row in rows) for snapshot, rows in measured.items()}
    users = tuple({"snapshot_id": snapshot, "rows": count} for snapshot, count in counts.items())
    return StageResult(OutcomesOutput(measured=users, note="" if users else note), commit=commit)


_BEFORE = (
    Stage("prepare", prepare, holds="snapshot"),
    TEXTUALIZE,
    SCORE_CHALLENGER,
    SCORE,
)
register(
    Workflow(
        "score",
        Score,
        (*_BEFORE, Stage("publish", publish, after=("score",)), CANARY, MONITOR, SEGMENT_PROFILES),
        "Score every user and publish a snapshot.",
    )
)
register(
    Workflow(
        "refresh",
        Refresh,
        (
            *_BEFORE,
            Stage("outcomes", outcomes, after=("score",)),
            Stage("publish", publish, after=("outcomes",)),
            CANARY,
            MONITOR,
            SEGMENT_PROFILES,
            FOLLOW_UP,
        ),
        "Score the users whose behaviour changed, carry the others forward, and publish a snapshot.",
    )
)
