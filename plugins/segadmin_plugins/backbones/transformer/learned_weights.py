"""Which of a model's weights equal those of its pretrained files, and which a fit has created or may change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def mark_loaded(model: Any, new: Collection[str] = ()) -> None:
    """Remember that the parameters of ``model`` came from its files, except those named in ``new``.

    They are identified as objects, because a tuner may wrap layers, which changes the names.
    """
    model.loaded_weights = frozenset(id(weights) for name, weights in model.named_parameters() if name not in new)


def loaded_weights(model: Any) -> frozenset[int]:
    """Return the identities that :func:`mark_loaded` remembered; none for a model trained from scratch."""
    return getattr(model, "loaded_weights", frozenset())


def learned_state(model: nn.Module, loaded: frozenset[int]) -> dict[str, Tensor]:
    """Return ``model``'s state without the frozen parameters in ``loaded``, which can be read from their files.

    A tensor with several names, such as a shared embedding, is included once.
    """
    state = {
        name: weights.detach()
        for name, weights in model.named_parameters()
        if weights.requires_grad or id(weights) not in loaded
    }
    return state | {name: buffer.detach() for name, buffer in _saved_buffers(model)}


def load_learned(model: nn.Module, state: dict[str, Tensor], loaded: frozenset[int]) -> None:
    """Load what :func:`learned_state` returned into a ``model`` built in the same way.

    Raises:
        RuntimeError: names or shapes differ from those of ``model``.
    """
    expected = set(learned_state(model, loaded))
    if expected != set(state):
        differs = sorted(expected ^ set(state))
        raise RuntimeError(f"{len(differs)} weights are missing or unknown, such as {differs[0]}")
    model.load_state_dict(state, strict=False)


def learn_in_float32(model: Any) -> None:
    """Convert trainable weights to float32: updates are too small for the precision of frozen ones."""
    for weights in model.parameters():
        if weights.requires_grad and weights.dtype in (torch.bfloat16, torch.float16):
            weights.data = weights.data.float()


def _saved_buffers(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield the buffers that a model saves, each once."""
    saved = model.state_dict(keep_vars=True)
    return ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
