"""The model that a fit starts from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.settings import Settings
from segadmin_plugins.backbones.transformer.options import TrainingOptions

if TYPE_CHECKING:
    from segadmin_plugins.backbones.transformer.prompt import Prompt


@dataclass(frozen=True, kw_only=True)
class ModelSource(TrainingOptions, ABC):
    """Training options together with the weights that they apply to."""

    @abstractmethod
    def pretrained(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return the sequence classifier to start from and its tokenizer."""

    def folder(self, settings: Settings) -> Path | None:
        """Return the folder of the pretrained weights; ``None`` for a model trained from scratch."""
        return None

    def prompt_for(self, segments: Sequence[str]) -> Prompt | None:
        """Return the prompt around the texts of a fit, if there is one."""
        return None

    def begin(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return the model and tokenizer of an earlier version (``run.start``), else those of :meth:`pretrained`."""
        if run.start is None:
            return self.pretrained(train, run)
        from segadmin_plugins.backbones.transformer.warm_start import start_from

        return start_from(
            run.start, train.segments, settings=run.settings, dtype=self.dtype_of_base(run.start, run.settings)
        )
