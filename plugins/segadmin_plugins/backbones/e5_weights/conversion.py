"""Writes a packed model as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from segadmin_plugins.backbones.e5_weights.packed_file import PackedFile, Sizes
from segadmin_plugins.backbones.e5_weights.tokenizer import tokenizer_of

#: Tensors of the file → parameters of ``BertModel``; those of a layer without the prefix ``l0.``.
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_MODULES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_PARTS = {"w": "weight", "b": "bias"}


def write_folder(packed: PackedFile, folder: Path) -> None:
    """Write the model, in float32, and its tokenizer to ``folder`` as ``save_pretrained`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_state(packed), folder / "model.safetensors", metadata={"format": "pt"})
    _config(packed.sizes, packed.vocabulary.special.padding).save_pretrained(folder)
    tokenizer_of(packed.vocabulary).save_pretrained(folder)


def _state(packed: PackedFile) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of ``BertModel``."""
    sizes = packed.sizes
    names = _EMBEDDINGS | {
        f"l{layer}.{module}.{part}": f"encoder.layer.{layer}.{path}.{parameter}"
        for layer in range(sizes.layers)
        for module, path in _MODULES.items()
        for part, parameter in _PARTS.items()
    }
    state = {}
    for own, name in names.items():
        weights = packed.tensors[own]
        is_vector = name.endswith("bias") or "LayerNorm" in name
        width = sizes.inner if own.endswith(".fo.w") else sizes.width
        state[name] = np.ascontiguousarray(weights if is_vector else weights.reshape(-1, width))
    return state


def _config(sizes: Sizes, padding: int) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=sizes.rows,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.types,
        layer_norm_eps=sizes.epsilon,
        pad_token_id=padding,
    )
