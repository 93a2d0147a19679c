"""The contract of a tuner: which of a pretrained model's weights learn, and what is left of it afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class TuningRun:
    """What a tuner may know of the training ahead."""

    steps: int  #: of the optimizer, at most
    seed: int


class Tuner(ABC):
    """Adapts a sequence classifier of Hugging Face. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()  #: modules that it needs
    #: Whether the pretrained weights stay as they are, but for a few: then a version can be kept without the others.
    freezes_base: ClassVar[bool] = False

    @abstractmethod
    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return ``model`` with ``requires_grad`` set where weights learn, perhaps inside something around it.

        Its forward must still take ``input_ids`` and ``attention_mask`` and return ``logits``.
        """

    def after_step(self, model: Any, step: int) -> None:  # noqa: B027  (most need nothing)
        """Do what the method asks for after each step of the optimizer; by default nothing."""

    def merged(self, model: Any) -> Any:
        """Return a plain model that computes exactly the same, to be saved; by default ``model`` as it is."""
        return model
