"""The states of texts after the frozen layers: computed once, and not in every epoch and validation again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

from segadmin_plugins.engines.packing import Packing
from segadmin_plugins.engines.precision import bf16_is_faster

if TYPE_CHECKING:
    from segadmin.contracts.backbone import FitContext
    from segadmin_plugins.backbones.transformer.batches import UserDataset
    from segadmin_plugins.backbones.transformer.head import UserModel

#: The states take at most this fraction of the free memory; otherwise they are computed again each time.
_OF_FREE_MEMORY = 0.25
_TOKENS_AT_ONCE = 8192


def keep_states(model: UserModel, datasets: Iterable[UserDataset], run: FitContext) -> None:
    """Compute the states of all texts after the frozen layers, if there are some and memory for them."""
    datasets = [dataset for dataset in datasets if len(dataset)]
    layers = model.packed.frozen_layers if model.packed else 0
    if not layers:
        return
    device = next(model.parameters()).device
    dtype = torch.bfloat16 if bf16_is_faster() else torch.float32
    tokens = sum(len(dataset.ids.values) for dataset in datasets)
    size = tokens * model.text.config.hidden_size * dtype.itemsize
    if size > _OF_FREE_MEMORY * free_memory(device):
        return
    model.frozen_layers = layers
    model.eval()
    for dataset in datasets:
        run.progress(0.03, "reading the texts with the frozen layers")
        dataset.states = _states(model, dataset, layers, dtype)
    model.train()


def free_memory(device: torch.device) -> int:
    """Return the free memory of a GPU, or of this machine for a CPU, in bytes."""
    free: int = torch.cuda.mem_get_info()[0] if device.type == "cuda" else psutil.virtual_memory().available
    return free


def _states(model: UserModel, dataset: UserDataset, layers: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the states of all tokens of a data set, in the order of its texts."""
    device = next(model.parameters()).device
    assert model.packed is not None
    ids = dataset.ids
    kept = torch.empty((len(ids.values), model.text.config.hidden_size), dtype=dtype, device=device)
    order = np.argsort(ids.lengths, kind="stable")[::-1]
    ends = np.cumsum(ids.lengths[order])
    for rows in np.split(order, np.flatnonzero(np.diff(ends // _TOKENS_AT_ONCE)) + 1):
        texts = ids.take(rows)
        places = np.repeat(ids.offsets[:-1][rows] - texts.offsets[:-1], texts.lengths) + np.arange(len(texts.values))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            states = model.packed.states(Packing.of(texts, device), layers)
        kept[torch.from_numpy(places).to(device)] = states.to(dtype)
    return kept
