"""The contract of a tuner: decides which weights of a pretrained model are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class TuningRun:
    """What a tuner receives about the training."""

    steps: int  #: maximum number of optimizer steps
    seed: int


class Tuner(ABC):
    """Adapts a Hugging Face sequence classifier. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()  #: names of the modules that it needs
    #: Whether most pretrained weights do not change: then a version is stored without them.
    freezes_base: ClassVar[bool] = False

    @abstractmethod
    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return ``model`` with ``requires_grad`` set on the weights to train, possibly wrapped.

        Its ``forward`` must still take ``input_ids`` and ``attention_mask`` and return ``logits``.
        """

    def after_step(self, model: Any, step: int) -> None:  # noqa: B027  (optional)
        """Update the method's own state after each optimizer step; by default nothing."""

    def merged(self, model: Any) -> Any:
        """Return a plain model that computes exactly the same, to be saved; by default ``model`` itself."""
        return model
