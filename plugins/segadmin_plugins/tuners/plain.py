"""``full`` and ``head``: tuners that add nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from segadmin.contracts.tuner import Tuner, TuningRun


@dataclass(frozen=True)
class Full(Tuner):
    """All weights are trained, except the layers that ``frozen_layers`` freezes."""

    name: ClassVar[str] = "full"

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model unchanged."""
        return model


@dataclass(frozen=True)
class Head(Tuner):
    """Only the classification layer is trained; the pretrained model is frozen."""

    name: ClassVar[str] = "head"
    freezes_base: ClassVar[bool] = True

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Freeze everything except the classification layer."""
        model.base_model.requires_grad_(False)
        return model
