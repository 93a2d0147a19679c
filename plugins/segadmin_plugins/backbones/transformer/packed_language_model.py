"""A language model that reads packed texts: the same loss as that of padded texts, without computing the padding.

Of the layer that predicts tokens, the largest product of a small model, only the positions that predict something are
computed: about one in seven with masked tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from segadmin.errors import EngineUnavailable
from segadmin_plugins.backbones.transformer.masking import IGNORED, MaskedText, MaskingCollator
from segadmin_plugins.engines.packed_base import PackedBase
from segadmin_plugins.engines.packing import Packing, Runs
from segadmin_plugins.engines.precision import as_trained

log = logging.getLogger(__name__)
#: Tolerance of logits between packed and padded texts; bfloat16 and TF32 have three digits.
_CLOSE, _CLOSE_IF_MIXED = 1e-3, 3e-2


class PackedLanguageModel:
    """The parts of a language model, put together for packed texts."""

    def __init__(self, model: Any) -> None:
        """Take the parts of ``model``.

        Raises:
            EngineUnavailable: it is of a kind that cannot be packed.
        """
        self._base, self._head = PackedBase(model), _head_of(model)

    def logits(self, input_ids: Tensor, runs: Runs, predicting: Tensor) -> Tensor:
        """Return the logits at the positions ``predicting``, ``(predictions, vocabulary)``.

        The arguments are what :meth:`.masking.MaskingCollator.packed` returns.
        """
        return self._head(self._base.states(Packing.of_runs(input_ids, runs))[predicting]).float()

    def loss(
        self, input_ids: Tensor, runs: Runs, predicting: Tensor, labels: Tensor, *, count: Tensor | int | None = None
    ) -> Tensor:
        """Return the cross-entropy summed over the predictions of a batch, divided by ``count``.

        Args:
            input_ids: see :meth:`logits`, as ``runs`` and ``predicting``.
            runs: where the texts are.
            predicting: the positions that predict something.
            labels: what they are to predict, ``(predictions,)``.
            count: the number of predictions of all batches of a step; default: those of this batch.
        """
        total = cross_entropy(self.logits(input_ids, runs, predicting), labels, reduction="sum")
        return total / (count if count is not None else max(len(labels), 1))


def packed_language_model(
    model: Any, collate: MaskingCollator, sample: Sequence[MaskedText]
) -> PackedLanguageModel | None:
    """Return ``model`` for packed texts, or ``None`` if it does not compute the same that way on a ``sample``."""
    texts = sorted(sample, key=lambda text: len(text.shown), reverse=True)
    device = next(model.parameters()).device
    is_training = model.training
    model.eval()
    try:
        packed = PackedLanguageModel(model)
        batch, plain = on_device(collate.packed(texts), device), on_device(collate.padded(texts), device)
        del batch["labels"]
        predicts = torch.from_numpy(collate.predicted(plain.pop("labels").cpu().numpy()) != IGNORED)
        with torch.inference_mode(), as_trained(model, device.type):
            logits, expected = packed.logits(**batch).cpu(), model(**plain).logits.float().cpu()[predicts]
    except (EngineUnavailable, TypeError, AttributeError, RuntimeError) as error:
        log.info("texts are padded: %s", error, extra={"action": "engine"})
        return None
    finally:
        model.train(is_training)
    close = _CLOSE if device.type == "cpu" else _CLOSE_IF_MIXED
    is_same = logits.shape == expected.shape and np.allclose(logits, expected, atol=close, rtol=close)
    return packed if is_same else None


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a batch with its tensors on ``device``."""
    return {name: part.to(device) if isinstance(part, Tensor) else part for name, part in batch.items()}


def _head_of(model: Any) -> Callable[[Tensor], Tensor]:
    """Return what makes logits of states, ``(predictions, width)``.

    Raises:
        EngineUnavailable: the model has none of the usual heads.
    """
    head: Callable[[Tensor], Tensor] | None = getattr(model, "cls", None) or getattr(model, "lm_head", None)
    if head is not None:  # BERT; RoBERTa and decoders
        return head
    if hasattr(model, "vocab_projector"):  # DistilBERT
        return lambda states: model.vocab_projector(
            model.vocab_layer_norm(model.activation(model.vocab_transform(states)))
        )
    raise EngineUnavailable(f"the head of {type(model).__name__} is not known")
