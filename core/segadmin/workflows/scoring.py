"""The ``score`` and ``refresh`` jobs: a model there is puts every user in a segment, and a snapshot is published."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register
from segadmin.models.versions import MadeWith, find_version
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.workflows.textualize import TEXTUALIZE


class Score(Request):
    """Options of ``score`` and ``refresh``."""

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

    @property
    def made_with(self) -> MadeWith | None:
        """What the model must be made with, if anything."""
        return None if self.backbone is None else MadeWith(self.backbone, self.backbone_options)

    def completed(self, settings: Settings) -> Self:
        """Return the request with its backbone and its labels."""
        request = self
        if self.backbone is not None:
            name, options = resolve_backbone(load_plugins(settings), self.backbone, self.backbone_options)
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


def prepare(attempt: Attempt) -> StageResult:
    """Find the model, and check that it is whole and that what it needs is installed here."""
    from segadmin.workflows.prepare_scoring import prepare as run

    return run(attempt)


def score(attempt: Attempt) -> StageResult:
    """Put every user of a range of buckets in a segment."""
    from segadmin.workflows.score_stage import score as run

    return run(attempt)


def outcomes(attempt: Attempt) -> StageResult:
    """Measure earlier snapshots whose users' outcomes are known by now."""
    from segadmin.workflows.outcomes import evaluate_outcomes as run

    return run(attempt)


def publish(attempt: Attempt) -> StageResult:
    """Make all scores one snapshot, and the current one."""
    from segadmin.workflows.publish_stage import publish as run

    return run(attempt)


_BEFORE = (
    Stage("prepare", prepare, holds="snapshot"),
    TEXTUALIZE,
    Stage("score", score, "gpu", after=("textualize",), per_buckets=True, cost=10),
)
register(
    Workflow(
        "score",
        Score,
        (*_BEFORE, Stage("publish", publish, after=("score",))),
        "Score every user and publish a snapshot.",
    )
)
register(
    Workflow(
        "refresh",
        Score,
        (*_BEFORE, Stage("outcomes", outcomes, after=("score",)), Stage("publish", publish, after=("outcomes",))),
        "Score the users whose behaviour changed, carry the others forward, and publish a snapshot.",
    )
)
