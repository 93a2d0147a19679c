"""The ``pretrain`` job: a language model reads all users' texts, labelled or not, before it is fine-tuned."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.workflows.retrain import DEFAULT_BACKBONE, check_here, resolved_backbone
from segadmin.workflows.text_options import TextRequest
from segadmin.workflows.textualize import TEXTUALIZE


class Pretrain(TextRequest):
    """Options of ``pretrain``."""

    backbone: str = DEFAULT_BACKBONE
    backbone_options: dict[str, Any] = {}
    until: datetime | None = None  #: texts end here; default: where the labels' test rows begin, else now
    windows: int = Field(4, ge=1, le=60)  #: so many texts of each user, each half a window before the next
    mask: float = Field(0.15, gt=0, lt=1)  #: share of what is hidden and to be guessed, in encoders
    whole_phrases: bool = False  #: hide whole phrases, not single tokens
    new_words: int = Field(0, ge=0, le=50_000)  #: of the shop's own, to be added to the vocabulary
    seed: int = 17

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
    )
)
