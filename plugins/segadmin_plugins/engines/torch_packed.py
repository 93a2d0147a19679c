"""PyTorch on packed texts: no padding, in float32 or bfloat16."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.contracts.engine import Engine, Reader
from segadmin.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Tokens at once: on a CPU as many as keep the activations in its caches, on a GPU as many as keep it busy.
_TOKENS_CPU, _TOKENS_GPU = 4096, 65536


@dataclass(frozen=True)
class Torch(Engine):
    """PyTorch on packed texts: no padding, and of the last layer only what the classifier reads."""

    name: ClassVar[str] = "torch"
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return ``float32`` on a CPU, and ``bfloat16`` where the device has instructions for it."""
        from segadmin_plugins.engines.precision import bf16_is_faster

        fast = ("bfloat16",) if bf16_is_faster() else ()
        # Attention of packed texts on a GPU takes half precision only.
        return fast if device == "cuda" else ("float32", *fast)

    def tokens_at_once(self, text: Any) -> int:
        """Return how many tokens to read at once."""
        return _TOKENS_GPU if next(text.parameters()).is_cuda else _TOKENS_CPU

    def reader(self, text: Any, pad_id: int, precision: str) -> Reader:
        """Return a function that reads packed texts; in bfloat16 it has a copy of the weights.

        Raises:
            EngineUnavailable: the model is of a kind that cannot be packed.
        """
        import torch

        from segadmin_plugins.engines.packed_text import PackedText
        from segadmin_plugins.engines.packing import Packing
        from segadmin_plugins.engines.precision import mixed

        PackedText(text)  # before a copy is made
        if precision == "bfloat16":
            text = copy.deepcopy(text).to(torch.bfloat16)
        model, device = PackedText(text), next(text.parameters()).device

        def read(texts: Ragged) -> NDArray[np.float32]:
            with torch.inference_mode(), mixed(text, device.type):
                logits: NDArray[np.float32] = model.logits(Packing.of(texts, device)).float().cpu().numpy()
            return logits

        return read
