"""A Hugging Face sequence classifier that reads packed texts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged
from segadmin_plugins.engines.packed_base import PackedBase
from segadmin_plugins.engines.packed_layers import layers_of
from segadmin_plugins.engines.packing import Packing
from segadmin_plugins.engines.precision import as_trained

log = logging.getLogger(__name__)
#: Tolerance of logits between packed and padded texts; bfloat16 and TF32 have three digits.
_CLOSE, _CLOSE_IF_MIXED = 1e-3, 3e-2


class PackedText:
    """The parts of a sequence classifier, put together for packed texts.

    In the last layer of encoders of BERT's kind and of decoders of Llama's, only the token that the classifier reads is
    computed.
    """

    def __init__(self, text: Any) -> None:
        """Take the parts of ``text``.

        Raises:
            EngineUnavailable: it is of a kind that cannot be packed.
        """
        if hasattr(text, "get_base_model"):  # adapters are in the layers of the model
            text = text.get_base_model()
        self._base = PackedBase(text)
        self._head, self._reads_last = head_of(text)
        self._layers = layers_of(self._base)

    def logits(self, packing: Packing, states: Tensor | None = None, layers: int = 0) -> Tensor:
        """Return the logits of every text, ``(texts, segments)``.

        Args:
            packing: the texts.
            states: what :meth:`states` returns for them and ``layers``: these layers are not computed again.
            layers: the number of layers that ``states`` went through.
        """
        where = packing.lasts if self._reads_last else packing.firsts
        if self._layers is None:
            return self._logits(self._base.states(packing)[where])
        with self._base.packed():
            hidden = self._layers.embedded(packing) if states is None else states
            hidden = self._layers.through(self._layers.layers[layers:-1], hidden, packing)
            return self._logits(self._layers.last(hidden, where, packing))

    @property
    def frozen_layers(self) -> int:
        """The number of the lowest layers of which nothing is trained, at most all but one; 0 for an unknown kind."""
        if self._layers is None or _is_trained(self._layers.embeddings):
            return 0
        layers = self._layers.layers
        return next((n for n, layer in enumerate(layers) if _is_trained(layer)), len(layers) - 1)

    def states(self, packing: Packing, layers: int) -> Tensor:
        """Return the states of all tokens after the lowest ``layers`` layers, ``(tokens, width)``."""
        assert self._layers is not None
        with self._base.packed():
            return self._layers.through(self._layers.layers[:layers], self._layers.embedded(packing), packing)

    def _logits(self, states: Tensor) -> Tensor:
        logits: Tensor = self._head(states[:, None])
        return logits


def packed_like(text: Any, pad_id: int, sample: Ragged) -> PackedText | None:
    """Return ``text`` for packed texts, or ``None`` if it does not compute the same that way on a ``sample``."""
    from segadmin_plugins.engines.plain import Plain

    by_length = sample.take(np.argsort(sample.lengths, kind="stable")[::-1])
    is_training = text.training
    text.eval()
    try:
        packed, device = PackedText(text), next(text.parameters()).device
        with torch.inference_mode(), as_trained(text, device.type):
            logits = packed.logits(Packing.of(by_length, device)).float().cpu().numpy()
        expected = Plain().reader(text, pad_id, "float32")(by_length)
    except (EngineUnavailable, TypeError, AttributeError, RuntimeError) as error:
        log.info("texts are padded: %s", error, extra={"action": "engine"})
        return None
    finally:
        text.train(is_training)
    is_exact = device.type == "cpu" and all(weights.dtype == torch.float32 for weights in text.parameters())
    close = _CLOSE if is_exact else _CLOSE_IF_MIXED
    same = logits.shape == expected.shape and np.allclose(logits, expected, atol=close, rtol=close)
    return packed if same else None


def head_of(text: Any) -> tuple[Callable[[Tensor], Tensor], bool]:
    """Return what makes logits of the states ``(texts, 1, width)``, and whether these are of the last tokens.

    Raises:
        EngineUnavailable: the model has none of the usual heads.
    """
    dropout = getattr(text, "dropout", None) or nn.Identity()
    pooler = getattr(text.base_model, "pooler", None)
    if hasattr(text, "score"):  # decoders
        return lambda states: text.score(states)[:, 0], True
    if hasattr(text, "pre_classifier"):  # DistilBERT
        return lambda states: text.classifier(dropout(torch.relu(text.pre_classifier(states[:, 0])))), False
    if isinstance(pooler, nn.Linear) and hasattr(text, "classifier"):  # ALBERT
        activation = text.base_model.pooler_activation
        return lambda states: text.classifier(dropout(activation(pooler(states[:, 0])))), False
    if pooler is not None and hasattr(text, "classifier"):
        return lambda states: text.classifier(dropout(pooler(states))), False
    if hasattr(text, "classifier") and not isinstance(text.classifier, nn.Linear):  # RoBERTa: reads the first token
        return text.classifier, False
    raise EngineUnavailable(f"the head of {type(text).__name__} is not known")


def _is_trained(module: nn.Module) -> bool:
    return any(weights.requires_grad for weights in module.parameters())
