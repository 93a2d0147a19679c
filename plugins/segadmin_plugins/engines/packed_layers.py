"""The layers of known kinds of models, one by one: so that the lowest or the last ones can be computed differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segadmin_plugins.engines.packed_attention import attend, check_reach
from segadmin_plugins.engines.packed_base import PackedBase, has_hooks
from segadmin_plugins.engines.packing import Packing

#: The modules of an encoder of BERT's kind.
_BERT = {"embeddings", "encoder", "pooler"}
#: Decoders with the layers of Llama: norm, attention with rotary positions, norm, gated feed-forward block.
_LLAMA = {"llama", "qwen2", "qwen3"}


class PackedLayers(ABC):
    """The layers of a model, called under :meth:`.packed_base.PackedBase.packed`."""

    def __init__(self, base: PackedBase, embeddings: nn.Module, layers: Iterable[Any]) -> None:
        self._base, self.embeddings, self.layers = base, embeddings, list(layers)

    @abstractmethod
    def embedded(self, packing: Packing) -> Tensor:
        """Return the embeddings of all tokens, ``(tokens, width)``."""

    @abstractmethod
    def through(self, layers: Sequence[Any], hidden: Tensor, packing: Packing) -> Tensor:
        """Return the states of all tokens after these ``layers``, ``(tokens, width)``."""

    @abstractmethod
    def last(self, hidden: Tensor, where: Tensor, packing: Packing) -> Tensor:
        """Return the final state of the token ``where`` of each text, ``(texts, width)``.

        Of the last layer, keys and values are computed of all tokens, the rest of these only.
        """


class BertLayers(PackedLayers):
    """An encoder of BERT's kind."""

    def embedded(self, packing: Packing) -> Tensor:
        """Return the embeddings of all tokens."""
        embedded: Tensor = self.embeddings(input_ids=packing.ids, position_ids=self._base.positions(packing))[0]
        return embedded

    def through(self, layers: Sequence[Any], hidden: Tensor, packing: Packing) -> Tensor:
        """Return the states of all tokens after these ``layers``."""
        for layer in layers:
            output = layer(hidden[None], packing=packing)
            hidden = (output if isinstance(output, Tensor) else output[0])[0]
        return hidden

    def last(self, hidden: Tensor, where: Tensor, packing: Packing) -> Tensor:
        """Return the final state of one token per text."""
        layer = self.layers[-1]
        attention, own = layer.attention.self, hidden[where]
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


class LlamaLayers(PackedLayers):
    """A decoder with the layers of Llama."""

    def embedded(self, packing: Packing) -> Tensor:
        """Return the embeddings of all tokens."""
        embedded: Tensor = self.embeddings(packing.ids)[0]
        return embedded

    def through(self, layers: Sequence[Any], hidden: Tensor, packing: Packing) -> Tensor:
        """Return the states of all tokens after these ``layers``."""
        angles = self._angles(hidden, packing)
        for layer in layers:
            hidden = layer(hidden[None], position_embeddings=angles, packing=packing)[0]
        return hidden

    def last(self, hidden: Tensor, where: Tensor, packing: Packing) -> Tensor:
        """Return the final state of the last token of each text, which sees all others."""
        layer = self.layers[-1]
        attention, states = layer.self_attn, layer.input_layernorm(hidden)
        check_reach(packing, getattr(attention, "sliding_window", None))
        cos, sin = (part[0] for part in self._angles(hidden, packing))
        query = _turned(_heads(attention, "q", states[where]), cos[where], sin[where])
        key, value = _turned(_heads(attention, "k", states), cos, sin), _heads(attention, "v", states)
        dropout = attention.attention_dropout if attention.training else 0.0
        seen = attend(query, key, value, packing, scaling=attention.scaling, dropout=dropout).flatten(1)
        own = hidden[where] + attention.o_proj(seen)
        own = own + layer.mlp(layer.post_attention_layernorm(own))
        result: Tensor = self._base.module.norm(own)
        return result

    def _angles(self, hidden: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of the rotary positions, ``(1, tokens, width of a head)``."""
        cos, sin = self._base.module.rotary_emb(hidden[None], position_ids=self._base.positions(packing))
        return cos, sin


def layers_of(base: PackedBase) -> PackedLayers | None:
    """Return the layers of a model of a known kind, otherwise ``None``."""
    module = base.module
    layers: Any = getattr(getattr(module, "encoder", None), "layer", None)
    # The modules of the last layer that are not called, but their parts, must have no hooks.
    if _is_bert(module, layers) and not has_hooks(
        module.encoder, layers[-1], layers[-1].attention, layers[-1].attention.self
    ):
        return BertLayers(base, module.embeddings, layers)
    if module.config.model_type in _LLAMA and not has_hooks(module.layers[-1], module.layers[-1].self_attn):
        return LlamaLayers(base, module.embed_tokens, module.layers)
    return None


def _is_bert(base: Any, layers: Any) -> bool:
    return (
        isinstance(layers, nn.ModuleList)
        and {name for name, _ in base.named_children()} <= _BERT
        and not base.config.is_decoder
        and all(hasattr(layer, "intermediate") and hasattr(layer, "attention") for layer in layers)
        and all(hasattr(getattr(layer.attention, "self", None), "query") for layer in layers)
    )


def _heads(attention: Any, part: str, states: Tensor) -> Tensor:
    """Return query, key or value (``q``, ``k``, ``v``) of these states, ``(tokens, heads, width of a head)``."""
    heads: Tensor = getattr(attention, f"{part}_proj")(states).view(len(states), -1, attention.head_dim)
    norm = getattr(attention, f"{part}_norm", None)  # Qwen3
    return heads if norm is None else norm(heads)


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``heads`` turned by their rotary positions (Su et al. 2021)."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]
