"""The model as transformers computes it, in float32: what all engines are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from segadmin.contracts.engine import Engine, Reader
from segadmin.ragged import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Plain(Engine):
    """The model as transformers computes it: texts padded to the longest of a batch, in float32."""

    name: ClassVar[str] = "transformers"
    requires: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return ``float32``."""
        return ("float32",)

    def reader(self, text: Any, pad_id: int, precision: str) -> Reader:
        """Return a function that calls the model."""
        import torch

        from segadmin_plugins.engines.precision import mixed

        def read(texts: Ragged) -> NDArray[np.float32]:
            device = next(text.parameters()).device
            ids, mask = (torch.from_numpy(array).to(device) for array in padded(texts, pad_id))
            with torch.inference_mode(), mixed(text, device.type):
                logits = text(input_ids=ids, attention_mask=mask).logits
            result: NDArray[np.float32] = logits.float().cpu().numpy()
            return result

        return read


def padded(texts: Ragged, pad_id: int, multiple: int = 8) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and attention mask, ``(texts, tokens)``, padded on the right to a ``multiple`` of tokens."""
    lengths = texts.lengths
    width = -(-int(lengths.max()) // multiple) * multiple
    mask = np.arange(width) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = texts.values
    return ids, mask.astype(np.int64)
