"""The features' head of an earlier version, as the start of a new one: weights are matched by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from segadmin_plugins.backbones.features.scaling import Scaling
from segadmin_plugins.backbones.transformer.head import FeatureHead


def inherit_head(head: FeatureHead, features: Sequence[str], segments: Sequence[str], parent: Path) -> int:
    """Copy the weights of features and segments of the same names from the version in ``parent`` into ``head``.

    Features that the parent does not have begin without effect, so that the head begins as the parent's. Without a
    common feature, or if the parent has no such head, ``head`` is left as it is. Outputs of segments that the parent
    does not have stay as they are.

    Args:
        head: with random weights.
        features: of ``head``, in order.
        segments: of ``head``, in order.
        parent: folder of the earlier version.

    Returns:
        The number of features with the parent's weights.
    """
    stored = _read(parent)
    if stored is None:
        return 0
    weights, old_features, old_segments = stored
    columns, old_columns = _matched(features, old_features)
    rows, old_rows = _matched(segments, old_segments)
    is_alike = weights.keys() == head.state_dict().keys()  # a joint head has other layers
    if not columns or not is_alike or weights["deep.0.bias"].shape != head.state_dict()["deep.0.bias"].shape:
        return 0
    state = {name: new.clone() for name, new in head.state_dict().items()}
    hidden, direct = torch.zeros_like(state["deep.0.weight"]), torch.zeros(len(rows), len(features))
    hidden[:, columns] = weights["deep.0.weight"][:, old_columns]
    direct[:, columns] = weights["linear.weight"][old_rows][:, old_columns]
    state |= {"deep.0.weight": hidden, "deep.0.bias": weights["deep.0.bias"]}
    state["linear.weight"][rows] = direct
    for name in ("linear.bias", "deep.3.weight", "deep.3.bias"):
        state[name][rows] = weights[name][old_rows]
    head.load_state_dict(state)
    return len(columns)


def inherit_scaling(scaling: Scaling, parent: Path) -> Scaling:
    """Return ``scaling`` with the units of the version in ``parent`` for the features that it has.

    The weights of its head were learnt in these units.
    """
    file = parent / "features.json"
    if not file.is_file():
        return scaling
    known = Scaling.from_json(json.loads(file.read_text())["scaling"])
    columns, old_columns = _matched(scaling.names, known.names)
    arrays = {name: getattr(scaling, name).copy() for name in ("unit", "mean", "spread")}
    for name, array in arrays.items():
        array[columns] = getattr(known, name)[old_columns]
    return replace(scaling, **arrays)


def _read(parent: Path) -> tuple[dict[str, torch.Tensor], list[str], list[str]] | None:
    """Return the weights of the parent's head, its features and its segments."""
    paths = parent / "head.safetensors", parent / "features.json", parent / "config.json"
    if not all(path.is_file() for path in paths):
        return None
    names = json.loads(paths[1].read_text())["scaling"]["names"]
    labels = json.loads(paths[2].read_text())["id2label"]
    return load_file(paths[0]), names, [labels[str(number)] for number in range(len(labels))]


def _matched(names: Sequence[str], old: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the indices of the names that are in both, in ``names`` and in ``old``."""
    places = {name: number for number, name in enumerate(old)}
    both = [number for number, name in enumerate(names) if name in places]
    return both, [places[names[number]] for number in both]
