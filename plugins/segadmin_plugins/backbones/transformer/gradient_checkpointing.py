"""Gradient checkpointing: the backward pass computes a layer again, so that its activations need not be kept.

Of each layer only the input is kept (Chen et al.: Training Deep Nets with Sublinear Memory Cost, 2016). It costs about
a third more computation. Loss and gradients stay the same: dropout draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from segadmin.errors import ConfigurationError
from segadmin.ragged import Ragged
from segadmin_plugins.backbones.transformer.distributed import size
from segadmin_plugins.backbones.transformer.frozen_states import free_memory
from segadmin_plugins.backbones.transformer.head import layers_of
from segadmin_plugins.backbones.transformer.options import TrainingOptions
from segadmin_plugins.engines.packed_base import attention_of
from segadmin_plugins.engines.precision import bf16_is_faster

#: Numbers that a layer keeps of each token for the backward pass, as a multiple of the width (Korthikanti et al. 2022:
#: 34 bytes in half precision; attention maps are not kept).
_NUMBERS_PER_WIDTH = 17
#: Bytes for a trained weight: its gradient and the two moments of Adam, in float32.
_BYTES_PER_TRAINED_WEIGHT = 12


def uses_checkpointing(model: Any, text: Any, texts: Ragged, options: TrainingOptions) -> bool:
    """Whether ``model`` is trained with gradient checkpointing.

    Args:
        model: all that is trained; it is on its device.
        text: the Hugging Face model in it, the same or a part.
        texts: what is read in training.
        options: ``gradient_checkpointing`` decides; ``auto``: if the activations would not fit in the free memory.

    Raises:
        ConfigurationError: it was asked for, but a model of this kind does not have it.
    """
    if options.gradient_checkpointing != "auto" and not options.gradient_checkpointing:
        return False
    supported = getattr(text, "supports_gradient_checkpointing", False) and not hasattr(text, "prefixes")
    if options.gradient_checkpointing == "auto":
        needed = training_bytes(model, text, int(texts.lengths.max(initial=0)) * (options.batch_size // size()))
        return bool(supported) and needed > free_memory(next(model.parameters()).device)
    if not supported:
        kind = "the tuner 'prefix'" if hasattr(text, "prefixes") else f"a {text.config.model_type} model"
        raise ConfigurationError(
            f"gradient_checkpointing is not possible with {kind}. Leave it out, or read less: "
            "--backbone-option batch_size=8"
        )
    return True


def training_bytes(model: Any, text: Any, tokens: int) -> int:
    """Return how much memory training takes beside the weights: activations of ``tokens``, gradients and moments."""
    layers = layers_of(text)
    trained = [any(weights.requires_grad for weights in layer.parameters()) for layer in layers]
    kept = len(trained) - trained.index(True) if any(trained) else 0  # below, nothing is kept
    bytes_each = (torch.bfloat16 if bf16_is_faster() else torch.float32).itemsize
    activations: int = _NUMBERS_PER_WIDTH * bytes_each * text.config.hidden_size * kept * tokens
    weights: int = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    return activations + _BYTES_PER_TRAINED_WEIGHT * weights


@contextmanager
def gradient_checkpointing(text: Any, *, on: bool = True) -> Iterator[None]:
    """Train the layers of ``text``, which may have adapters, with gradient checkpointing in this block.

    Adapters get their gradients although the embeddings below them are frozen, because the inputs of a layer need no
    gradient: that is so without reentrant autograd.
    """
    if not on:
        yield
        return
    config = text.config
    caches, function = getattr(config, "use_cache", False), partial(_checkpointed, config)
    modules = [module for module in text.modules() if hasattr(module, "gradient_checkpointing")]
    for module in modules:
        module._gradient_checkpointing_func, module.gradient_checkpointing = function, True
    config.use_cache = False  # keys and values would be added to the cache twice
    try:
        yield
    finally:
        config.use_cache = caches
        for module in modules:
            module.gradient_checkpointing = False


def _checkpointed(config: Any, function: Any, *arguments: Any, **options: Any) -> Any:
    # The backward pass runs when the attention of packed texts is no longer set.
    attention = config._attn_implementation
    contexts = lambda: (nullcontext(), attention_of(config, attention))  # noqa: E731
    return checkpoint(function, *arguments, use_reentrant=False, context_fn=contexts, **options)
