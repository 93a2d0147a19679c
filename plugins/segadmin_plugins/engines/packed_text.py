"""A Hugging Face sequence classifier that reads packed texts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from segadmin.errors import EngineUnavailable
from segadmin_plugins.engines.packing import ATTENTION, Packing, attend


class PackedText:
    """The parts of a sequence classifier, put together for packed texts.

    The layers are those of transformers with another attention function, so encoders and decoders of any kind that
    take one are read, and everything that trains the model's modules trains these. In the last layer of an encoder of
    BERT's kind only the token that the classifier reads is computed.
    """

    def __init__(self, text: Any) -> None:
        """Take the parts of ``text``.

        Raises:
            EngineUnavailable: it is of a kind that cannot be packed.
        """
        if hasattr(text, "get_base_model"):  # adapters are in the layers of the model
            text = text.get_base_model()
        if text.config.is_encoder_decoder or not getattr(text, "_supports_attention_backend", False):
            raise EngineUnavailable(f"models of the kind {text.config.model_type} cannot be read packed")
        self.text = text
        self._head, self._reads_last = head_of(text)
        self._body, self._last = _without_last_layer(text.base_model)
        embeddings = getattr(text.base_model, "embeddings", None)
        # RoBERTa numbers its positions from the padding's id on.
        numbered = hasattr(embeddings, "create_position_ids_from_input_ids")
        self._first_position = int(embeddings.padding_idx) + 1 if numbered and embeddings is not None else 0

    def logits(self, packing: Packing) -> Tensor:
        """Return the logits of every text, ``(texts, segments)``."""
        config = self.text.config
        before, config._attn_implementation = config._attn_implementation, ATTENTION
        try:
            hidden = self._body(
                input_ids=packing.ids, position_ids=packing.positions + self._first_position, packing=packing
            ).last_hidden_state[0]
        finally:
            config._attn_implementation = before
        where = packing.lasts if self._reads_last else packing.firsts
        states = hidden[where] if self._last is None else _read_by_one(self._last, hidden, where, packing)
        logits: Tensor = self._head(states[:, None])
        return logits


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
    if pooler is not None and hasattr(text, "classifier"):
        return lambda states: text.classifier(dropout(pooler(states))), False
    if hasattr(text, "classifier") and not isinstance(text.classifier, nn.Linear):  # RoBERTa: reads the first token
        return text.classifier, False
    raise EngineUnavailable(f"the head of {type(text).__name__} is not known")


def _without_last_layer(base: Any) -> tuple[Any, Any]:
    """Return an encoder of BERT's kind without its pooler and last layer, and that layer; else ``base`` and ``None``.

    The weights are those of ``base``.
    """
    layers: Any = getattr(getattr(base, "encoder", None), "layer", None)
    is_bert = isinstance(layers, nn.ModuleList) and all(
        hasattr(layer, "intermediate") and hasattr(getattr(getattr(layer, "attention", None), "self", None), "query")
        for layer in layers
    )
    if not is_bert or len(layers) < 2 or base.config.is_decoder:
        return base, None
    body, encoder = copy.copy(base), copy.copy(base.encoder)
    encoder._modules = {**base.encoder._modules, "layer": nn.ModuleList(list(layers)[:-1])}
    body._modules = {**base._modules, "encoder": encoder, "pooler": None}
    return body, layers[-1]


def _read_by_one(layer: Any, hidden: Tensor, where: Tensor, packing: Packing) -> Tensor:
    """Return what a layer of BERT's kind makes of one token per text, ``(texts, width)``."""
    attention = layer.attention.self
    own = hidden[where]
    shape = (-1, attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (
        linear(states).view(shape)
        for linear, states in ((attention.query, own), (attention.key, hidden), (attention.value, hidden))
    )
    dropout = attention.dropout.p if attention.training else 0.0
    seen = attend(query, key, value, packing, scaling=attention.scaling, dropout=dropout).flatten(1)
    states = layer.attention.output(seen, own)
    result: Tensor = layer.output(layer.intermediate(states), states)
    return result
