"""``full`` and ``head``: tuners that add nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from segadmin.contracts.tuner import Tuner, TuningRun


@dataclass(frozen=True)
class Full(Tuner):
    """All weights learn, but for the layers that ``frozen_layers`` keeps."""

    name: ClassVar[str] = "full"

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model as it is."""
        return model


@dataclass(frozen=True)
class Head(Tuner):
    """Only the classification layer learns: the pretrained model is a fixed reader."""

    name: ClassVar[str] = "head"
    freezes_base: ClassVar[bool] = True

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Freeze all but the classification layer."""
        model.base_model.requires_grad_(False)
        return model
