"""The pretrained part of a Hugging Face model, reading packed texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor

from segadmin.errors import EngineUnavailable
from segadmin_plugins.engines.packed_attention import ATTENTION
from segadmin_plugins.engines.packing import Packing


class PackedBase:
    """The base of a model, whose layers read packed texts.

    The layers are those of transformers with another attention function, so encoders and decoders of any kind that
    take one are read, and whatever trains the model's modules trains these.
    """

    def __init__(self, model: Any) -> None:
        """Take the base of ``model``.

        Raises:
            EngineUnavailable: it is of a kind that cannot be packed.
        """
        if model.config.is_encoder_decoder or not getattr(model, "_supports_attention_backend", False):
            raise EngineUnavailable(f"models of the kind {model.config.model_type} cannot be read packed")
        self.module, self._config = model.base_model, model.config
        if has_hooks(model, self.module):  # of prefix tuning, say: they expect padded texts
            raise EngineUnavailable("hooks change what the model reads")
        embeddings = getattr(self.module, "embeddings", None)
        # RoBERTa numbers its positions from the padding's id on.
        numbered = hasattr(embeddings, "create_position_ids_from_input_ids")
        self._first_position = int(embeddings.padding_idx) + 1 if numbered and embeddings is not None else 0

    def states(self, packing: Packing) -> Tensor:
        """Return the last states of all tokens, ``(tokens, width)``."""
        with self.packed():
            states: Tensor = self.module(
                input_ids=packing.ids, position_ids=self.positions(packing), packing=packing
            ).last_hidden_state[0]
            return states

    def positions(self, packing: Packing) -> Tensor:
        """Return the positions as this model numbers them, ``(1, tokens)``."""
        return packing.positions + self._first_position

    def packed(self) -> AbstractContextManager[None]:
        """Return a context with the attention of packed texts."""
        return attention_of(self._config, ATTENTION)


@contextmanager
def attention_of(config: Any, name: str) -> Iterator[None]:
    """Use the attention function that transformers knows as ``name`` in this block."""
    before, config._attn_implementation = config._attn_implementation, name
    try:
        yield
    finally:
        config._attn_implementation = before


def has_hooks(*modules: Any) -> bool:
    """Whether something else is called before or after one of ``modules``."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)
