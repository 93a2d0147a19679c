"""The ``pretrain`` job: a language model reads all users' texts, labelled or not, before it is fine-tuned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Option, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.workflows.retrain import DEFAULT_BACKBONE, check_here, resolved_backbone
from segadmin.workflows.text_options import TextRequest
from segadmin.workflows.textualize import TEXTUALIZE


class Pretrain(TextRequest):
    """Options of ``pretrain``."""

    backbone: Annotated[str, Option(short="b")] = Field(
        DEFAULT_BACKBONE, description="A registered language model, a Hugging Face id, or a folder."
    )
    backbone_options: Annotated[dict[str, Any], Option("backbone-option")] = Field(
        {}, description="Option of the backbone."
    )
    until: Annotated[datetime | None, Option(default="where the labels' test rows begin, else the newest event")] = (
        Field(None, description="Texts end here (UTC).")
    )
    windows: int = Field(4, ge=1, le=60, description="Texts per user, each half a window earlier than the next.")
    mask: float = Field(0.15, gt=0, lt=1, description="Fraction of tokens to mask, in encoders.")
    whole_phrases: bool = Field(False, description="Mask whole phrases instead of single tokens.")
    new_words: int = Field(0, ge=0, le=50_000, description="Number of the shop's own words to add to the vocabulary.")
    seed: int = Field(17, description="Random seed.")

    def completed(self, settings: Settings) -> Self:
        """Return the request with its backbone."""
        plugins = load_plugins(settings)
        resolved = resolved_backbone(plugins, self.backbone, self.backbone_options)
        request = super().completed(settings).model_copy(update=resolved)
        check_here(settings, plugins, plugins.make("backbone", request.backbone, request.backbone_options))
        return request


def prepare(attempt: Attempt) -> StageResult:
    """Check the weights and decide the windows: whom to read, and until when."""
    from segadmin.workflows.pretrain_stages import prepare as run

    return run(attempt)


def pretrain(attempt: Attempt) -> StageResult:
    """Let the backbone read, and keep what it has become as a model version to start from."""
    from segadmin.workflows.pretrain_stages import pretrain as run

    return run(attempt)


register(
    Workflow(
        "pretrain",
        Pretrain,
        (
            Stage("prepare", prepare, "gpu"),
            TEXTUALIZE,
            Stage("pretrain", pretrain, "gpu", after=("textualize",), cost=100),
        ),
        "Adapt a language model to all users' texts, labelled or not; `retrain --from` continues from the result.",
    )
)
