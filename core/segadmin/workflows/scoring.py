"""The ``score`` and ``refresh`` jobs: a model there is puts every user in a segment, and a snapshot is published."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError
from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.plugin_guard import calling
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
from segadmin.workflows.publishing import publish
from segadmin.workflows.scored import ScoreOutput, scoring_of
from segadmin.workflows.textualize import TEXTUALIZE, lake_now, texts_to_score
from segadmin.workflows.update_request import UpdateRequest, check_policy

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime

    import polars as pl
    from sqlmodel import Session

    from segadmin.contracts.backbone import Classifier
    from segadmin.inference.predictor import Predictor
    from segadmin.workflows.scoring_groups import GroupTexts, ScoringGroup

log = logging.getLogger(__name__)


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
            *(() if canary is not None else ("canary",)),
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


def score(attempt: Attempt) -> StageResult:
    """Let the model read the users whose text changed; while a canary is running, each user by the model that has it.

    Memory is bounded: the texts of some buckets are read at a time. If the challenger of a canary fails, the canary is
    stopped, and the champion scores its users.
    """
    import polars as pl

    from segadmin.inference.scoring import SCORES
    from segadmin.workflows.scoring_groups import MODEL_FAILURES, groups_of, texts_of_group

    prepared, own = attempt.output(PreparedSegments), texts_to_score(attempt, attempt.buckets)
    groups = groups_of(attempt.settings, prepared.text, scoring_of(attempt, prepared))
    texts = [texts_of_group(attempt, prepared, group, own) for group in groups]
    total, parts, failure = sum(each.users for each in texts), list[_Scored](), ""
    for group, group_texts in zip(groups, texts, strict=True):
        done = sum(part.read for part in parts)
        try:
            parts.append(_score_group(attempt, group, group_texts, done, total))
        except MODEL_FAILURES as error:
            if not group.is_canary:
                raise
            failure, stand_in = str(error), group.scored_by(groups[0])
            log.warning("challenger failed", extra={"action": "canary", "version": group.version_id})
            again = texts_of_group(attempt, prepared, stand_in, own)
            parts.append(_score_group(attempt, stand_in, again, done, max(total, done + again.users)))
    scored = pl.concat([pl.DataFrame(schema=SCORES), *(rows for part in parts for rows in part.rows)])
    unchanged = [rows for part in parts for rows in part.unchanged]
    champion, *challenger = parts
    output = ScoreOutput(
        buckets=(attempt.buckets.start, attempt.buckets.stop - 1),
        scores=attempt.write(scored.sort("bucket", "user_key"), "scores"),
        rescored=scored.height,
        carried=sum(part.read for part in parts) - scored.height,
        unchanged=attempt.write(pl.concat(unchanged), "unchanged") if unchanged else None,
        remark=champion.model.remark,
        inference=champion.model.inference,
        canary_inference=challenger[0].model.inference if challenger else {},
        canary_failure=failure,
    )

    def commit(session: Session) -> Json:
        """Stop the canary if its challenger failed, so that the next job does not try it again."""
        running = running_canary(session, prepared.label_set)
        if running is not None and groups[-1].canary == CanaryShare.of(running):
            reason = f"the challenger failed while it scored users: segadmin jobs show {attempt.job_id}"
            end_canary(session, running, CanaryState.STOPPED, reason, job=attempt.job_id)
        return {}

    return StageResult(output, commit=commit if failure else None)


@dataclass
class _Scored:
    """What the model of a group has done with its users."""

    model: _Model
    rows: list[pl.DataFrame] = field(default_factory=list)  #: with the columns of ``SCORES``
    unchanged: list[pl.DataFrame] = field(default_factory=list)  #: see :attr:`ScoreOutput.unchanged`
    read: int = 0  #: users


def _score_group(attempt: Attempt, group: ScoringGroup, texts: GroupTexts, before: int, total: int) -> _Scored:
    """Let the model of a group read its users.

    Args:
        attempt: of the step.
        group: the users and their model.
        texts: of the users.
        before: users who were read before, of ``total``.
        total: users to be read.
    """
    from segadmin.inference.scoring import scored_batches

    scored = _Scored(_Model(attempt, group.version_id))
    for users in texts.pieces:
        changed = _changed(attempt.settings, group, users)
        if group.goes_on and "next_change" in users.columns:  # otherwise an older release has read them
            same = users.join(changed, on="user_key", how="anti")
            scored.unchanged.append(same.select("user_key", "next_change"))
        if changed.height:
            call, skipped = scored.model.call, before + scored.read + users.height - changed.height
            scored.rows += scored_batches(
                changed,
                scored.model.predictor,
                group.version_id,
                call=call,
                progress=attempt.progress,
                before=skipped,
                total=total,
            )
        scored.read += users.height
    return scored


def _changed(settings: Settings, group: ScoringGroup, users: pl.DataFrame) -> pl.DataFrame:
    """Return those of ``users`` who are scored: without those whose text is the same although time passed."""
    from segadmin.snapshots.read import assignments
    from segadmin.snapshots.stale import to_score

    if group.refresh is None or group.refresh.everyone:
        return users
    buckets = users["bucket"].unique().to_list()
    return to_score(users, assignments(settings, group.refresh.snapshot_id, buckets=buckets))


class _Model:
    """The model of a scoring step, loaded when the first user is to be read."""

    def __init__(self, attempt: Attempt, version_id: int) -> None:
        self._attempt, self._version_id = attempt, version_id
        self._plugins = load_plugins(attempt.settings)

    @cached_property
    def _version(self) -> ModelVersion:
        with reading(self._attempt.settings) as session:
            return session.get_one(ModelVersion, self._version_id)

    def call(self, method: str = "predict") -> AbstractContextManager[None]:
        """Return the context in which the backbone is called."""
        return calling(self._attempt, self._plugins.find("backbone", self._version.backbone), method)

    @cached_property
    def predictor(self) -> Predictor:
        """The model."""
        from segadmin.inference.predictor import load_predictor

        self._attempt.progress(0.0, "loading the model")
        with self.call("load"):
            return load_predictor(self._attempt.settings, self._plugins, self._version)

    @property
    def _classifier(self) -> Classifier | None:
        """The backbone's classifier, if it was needed."""
        return self.predictor.classifier if "predictor" in vars(self) else None

    @property
    def remark(self) -> str:
        """What is worth knowing of how the model predicted."""
        return self._classifier.remark if self._classifier else ""

    @property
    def inference(self) -> dict[str, Any]:
        """How the model computed."""
        return dict(self._classifier.inference) if self._classifier else {}


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
    note = f"the outcomes of {len(waiting)} snapshots are not known yet" if waiting else "all known"

    def commit(session: Session) -> Json:
        session.add_all([Evaluation(job_id=attempt.job_id, **row) for rows in measured.values() for row in rows])
        return {}

    counts = {snapshot: sum(row["rows"] for row in rows) for snapshot, rows in measured.items()}
    users = tuple({"snapshot_id": snapshot, "rows": count} for snapshot, count in counts.items())
    return StageResult(OutcomesOutput(measured=users, note="" if users else note), commit=commit)


_BEFORE = (
    Stage("prepare", prepare, holds="snapshot"),
    TEXTUALIZE,
    Stage("score", score, "gpu", after=("textualize",), per_buckets=True, cost=10),
)
register(
    Workflow(
        "score",
        Score,
        (*_BEFORE, Stage("publish", publish, after=("score",)), MONITOR, CANARY),
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
            MONITOR,
            CANARY,
            FOLLOW_UP,
        ),
        "Score the users whose behaviour changed, carry the others forward, and publish a snapshot.",
    )
)
