"""The contract of an engine: a runtime that computes the logits of user texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: From token ids, one row per text, to all outputs of the classifier, ``(texts, config.num_labels)``, float32: the
#: logits, and more if a head reads them. Reads all texts that it is given at once.
Reader = Callable[[Ragged], "NDArray[np.float32]"]


class Engine(ABC):
    """Computes the logits of a fine-tuned Hugging Face sequence classifier. Subclass it as a frozen dataclass.

    What an engine computes is compared with the model itself in float32 on texts of users before it is used, in each
    worker process: one that differs or is slower is left aside.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()  #: names of the modules that it needs

    @abstractmethod
    def precisions(self, device: str) -> tuple[str, ...]:
        """Return what it can compute in on this machine, such as ``float32``, ``bfloat16`` and ``int8``.

        Args:
            device: ``cpu`` or ``cuda``.
        """

    @abstractmethod
    def reader(self, text: Any, pad_id: int, precision: str) -> Reader:
        """Return a function that computes logits with the weights of ``text``.

        Args:
            text: the sequence classifier, in evaluation mode, on the device to compute on. It must stay as it is.
            pad_id: the id to pad with.
            precision: one of :meth:`precisions`.

        Raises:
            EngineUnavailable: it cannot compute this model.
        """

    def tokens_at_once(self, text: Any) -> int:
        """Return how many tokens a reader should get in a call; fewer are given where they do not fit in memory."""
        return 4096
