"""What the first stage of a job finds out, for the stages after it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from segadmin.labels.held_out import HELD_OUT
from segadmin.text.recipe import Recipe, Window


class Beside(BaseModel):
    """Another label set that is learnt beside the one that counts."""

    model_config = ConfigDict(frozen=True)

    segments: tuple[str, ...]
    rows: dict[str, Any]  #: ``user_key``, ``as_of``, ``observed_from``, ``target``, as an attempt wrote them


class Start(BaseModel):
    """The model version to go on from."""

    model_config = ConfigDict(frozen=True)

    version: int
    folder: str
    sha256: str


class Prepared(BaseModel):
    """The result of the ``prepare`` stage: what to read, how, and for which model."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    label_set: str
    segments: tuple[str, ...]
    training: tuple[Window, ...] = ()  #: where labelled users are read, to train and evaluate
    scoring: Window | None = None  #: where every user is read, to be put in a segment
    backbone: str = ""
    backbone_options: dict[str, Any] = {}
    baselines: tuple[str, ...] = ()  #: backbones fitted beside it on the same rows
    trackers: dict[str, dict[str, Any]] = {}  #: who is told of the fit's figures, with their options
    seed: int = 17
    held_out: float = HELD_OUT  #: share of the users who choose when to stop
    margin: float = 0.0  #: by how much the test AUROC must be above each baseline's
    precision: float | None = None  #: how often those put in a segment shall be right; none: everybody is put in one
    augment: int = 0  #: copies of each training row that say the same otherwise
    drop_events: float = 0.0  #: share of the events that a copy leaves out
    split: Literal["time", "user"] = "time"
    rows: dict[str, Any] | None = None  #: the split, as :mod:`segadmin.labels.split` wrote it
    also: dict[str, Beside] = {}  #: learnt at the same time
    start: Start | None = None
    lake: dict[str, int] | None = None  #: versions of the tables as they are read, whatever is imported meanwhile
    data: dict[str, Any] = {}  #: what there was to learn from: counts, windows, the labels' definition, a digest
    model_version_id: int | None = None  #: the model to score with, where the job does not train one
    previous_snapshot_id: int | None = None  #: the snapshot to carry unchanged users from (refresh)
