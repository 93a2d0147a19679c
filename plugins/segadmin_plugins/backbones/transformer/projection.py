"""A projection of the vector that a text model classifies: outputs beside its logits, of the same last layer.

Whatever computes the logits, be it an engine, an adapter or a converted model, computes these outputs too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from segadmin.errors import ConfigurationError
from segadmin_plugins.backbones.transformer.multitask import last_layers, name_outputs, narrow

_PREFIX = "projection."


def widen(text: Any, width: int, stored: Mapping[str, Tensor] | None = None) -> None:
    """Add ``width`` outputs to the last layer of ``text``: those of :func:`projection_of`, or new ones.

    Raises:
        ConfigurationError: it is not clear which layer is the last.
    """
    owner, name, layer = _last_layer(text)
    like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    wide = nn.Linear(layer.in_features, layer.out_features + width, bias=layer.bias is not None, **like)
    with torch.no_grad():
        wide.weight.normal_(std=getattr(text.config, "initializer_range", 0.02))
        wide.weight[:-width] = layer.weight
        if layer.bias is not None:
            wide.bias.zero_()
            wide.bias[:-width] = layer.bias
        for part, weights in (stored or {}).items():
            getattr(wide, part.removeprefix(_PREFIX))[-width:] = weights
    segments = _names_of(text)
    setattr(owner, name, wide)
    name_outputs(text, segments, width)


def projection_of(text: Any, width: int) -> dict[str, Tensor]:
    """Return the weights of the last ``width`` outputs, on the CPU."""
    _, _, layer = _last_layer(text)
    return {
        f"{_PREFIX}{part}": weights.detach()[-width:].float().cpu().contiguous()
        for part, weights in layer.named_parameters()
    }


def split_projection(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what :func:`projection_of` returned and the rest of a ``state``."""
    projection = {name: weights for name, weights in state.items() if name.startswith(_PREFIX)}
    return projection, {name: weights for name, weights in state.items() if name not in projection}


@contextmanager
def without_projection(text: Any, width: int) -> Iterator[None]:
    """Take the last ``width`` outputs away in the block, so that only the classifier is saved."""
    if not width:
        yield
        return
    owner, name, layer = _last_layer(text)
    segments = _names_of(text)[:-width]
    narrow(text, None, segments)
    try:
        yield
    finally:
        setattr(owner, name, layer)
        name_outputs(text, segments, width)


def _last_layer(text: Any) -> tuple[nn.Module, str, nn.Linear]:
    layers = last_layers(text)
    if len(layers) != 1:
        raise ConfigurationError(
            f"fusion='joint' reads the layer that classifies, and {type(text).__name__} has {len(layers)} layers that "
            "could be it. Add the features to the logits instead: --backbone-option fusion=sum"
        )
    return layers[0]


def _names_of(text: Any) -> tuple[str, ...]:
    return tuple(text.config.id2label[n] for n in range(text.config.num_labels))
