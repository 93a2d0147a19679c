"""Which of a model's weights are exactly those of its pretrained files, and which a fit has made or may change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def mark_loaded(model: Any, new: Collection[str] = ()) -> None:
    """Remember that the parameters of ``model`` came from its files, but for those named in ``new``.

    They are remembered as objects: a tuner may put something around a layer, which changes the names.
    """
    model.loaded_weights = frozenset(id(weights) for name, weights in model.named_parameters() if name not in new)


def loaded_weights(model: Any) -> frozenset[int]:
    """Return the identities of what :func:`mark_loaded` remembered; nothing of a model that starts from nothing."""
    return getattr(model, "loaded_weights", frozenset())


def learned_state(model: nn.Module, loaded: frozenset[int]) -> dict[str, Tensor]:
    """Return all of ``model``'s state but the frozen parameters in ``loaded``, which can be read from their files.

    A tensor with several names, as an embedding that encoder and decoder share, is there once.
    """
    state = {
        name: weights.detach()
        for name, weights in model.named_parameters()
        if weights.requires_grad or id(weights) not in loaded
    }
    return state | {name: buffer.detach() for name, buffer in _saved_buffers(model)}


def load_learned(model: nn.Module, state: dict[str, Tensor], loaded: frozenset[int]) -> None:
    """Put what :func:`learned_state` returned into a ``model`` made in the same way.

    Raises:
        RuntimeError: names or shapes are other than those of ``model``.
    """
    wanted = set(learned_state(model, loaded))
    if wanted != set(state):
        differs = sorted(wanted ^ set(state))
        raise RuntimeError(f"{len(differs)} weights are missing or unknown, such as {differs[0]}")
    model.load_state_dict(state, strict=False)


def learn_in_float32(model: Any) -> None:
    """Turn the weights that learn into float32: steps are too small for the precision that frozen ones may have."""
    for weights in model.parameters():
        if weights.requires_grad and weights.dtype in (torch.bfloat16, torch.float16):
            weights.data = weights.data.float()


def _saved_buffers(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield the buffers that a model saves, each once."""
    saved = model.state_dict(keep_vars=True)
    return ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
