"""Several label sets learned at once: one encoder, a head each (Caruana: Multitask Learning, 1997).

The heads are rows of one last layer, so that any sequence classifier of Hugging Face can have them; after
training, only the rows of the target label set are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from torch import nn

from segadmin_plugins.backbones.transformer.head import first_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segadmin.contracts.backbone import Examples
    from segadmin_plugins.backbones.transformer.head import FusionHead

#: The target of a row without a label for a task; torch's cross-entropy ignores it.
UNKNOWN = -100
_KEY = ["user_key", "as_of"]


@dataclass(frozen=True)
class Tasks:
    """The rows of several tasks, each user and moment once."""

    examples: Examples  #: ``segments`` are those of all tasks, one after another
    targets: NDArray[np.int64]  #: ``(n_rows, n_tasks)``, the target task first
    sizes: tuple[int, ...]  #: segments of each task


def together(train: Examples, also: Mapping[str, Examples]) -> Tasks:
    """Return ``train`` with the rows of ``also``; a row in several label sets has several targets."""
    frame = train.frame.with_columns(pl.col("target").cast(pl.Int64))
    for name, other in also.items():
        other_rows = other.frame.with_columns(pl.col("target").cast(pl.Int64).alias(name)).drop("target")
        frame = frame.join(other_rows.select(*_KEY, name), on=_KEY, how="left", maintain_order="left")
        new_rows = other_rows.join(frame, on=_KEY, how="anti")
        frame = pl.concat(
            [frame, new_rows.select(column for column in new_rows.columns if column in frame.columns)], how="diagonal"
        )
    targets = frame.select(pl.col("target", *also).fill_null(UNKNOWN)).to_numpy()
    segments = train.segments + tuple(
        f"{name}: {segment}" for name, other in also.items() for segment in other.segments
    )
    sizes = (len(train.segments), *(len(other.segments) for other in also.values()))
    return Tasks(replace(train, frame=frame.drop(also.keys()), segments=segments), targets.astype(np.int64), sizes)


def narrow(text: Any, features: FusionHead | None, segments: tuple[str, ...]) -> None:
    """Keep only the outputs of the first task, whose segments are ``segments``, and those that ``features`` reads."""
    kept, last = len(segments), features.width if features is not None else 0
    if text.config.num_labels == kept + last:
        return
    for owner, name, layer in last_layers(text):
        setattr(owner, name, first_rows(layer, kept, last))
    name_outputs(text, segments, last)
    if features is not None:
        features.narrow(kept)


def name_outputs(text: Any, segments: tuple[str, ...], more: int = 0) -> None:
    """Name the outputs of ``text``: the segments, and ``more`` that a head reads."""
    names = dict(enumerate((*segments, *(f"output {n}" for n in range(1, more + 1)))))
    text.num_labels = len(names)
    text.config.id2label = names
    text.config.label2id = {name: n for n, name in names.items()}


def last_layers(text: Any) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Return the layers outside the pretrained part with an output per segment, each with its parent and its name."""
    inside = {id(module) for module in text.base_model.modules()}
    return [
        (owner, name, layer)
        for owner in text.modules()
        if id(owner) not in inside
        for name, layer in owner.named_children()
        if isinstance(layer, nn.Linear) and id(layer) not in inside and layer.out_features == text.config.num_labels
    ]
