"""The stages of every kind of job, in the order of the data."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from segadmin.jobs.attempt import Attempt, Outcome

Queue = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Stage:
    """One stage of a job: a function, where it runs, and what it reads from."""

    name: str
    function: str  #: ``module:function``, imported by the worker that runs it
    queue: Queue = "cpu"
    after: tuple[str, ...] = ()  #: stages that must be done first
    per_buckets: bool = False  #: cut into several steps, each over a range of buckets
    parallel: str = ""  #: option of the job that says into how many equal steps it is cut; they share the work
    holds: str = ""  #: what the job must hold from here to its end: see :mod:`segadmin.jobs.locks`
    cost: float = (
        1.0  #: its time relative to the other stages', until jobs were measured: :mod:`segadmin.jobs.progress`
    )

    def load(self) -> Callable[[Attempt], Outcome]:
        """Import the stage's function."""
        module, _, name = self.function.partition(":")
        return cast("Callable[[Attempt], Outcome]", getattr(importlib.import_module(module), name))


_TEXTUALIZE = Stage(
    "textualize", "segadmin.workflows.textualize:textualize", after=("prepare",), per_buckets=True, cost=4
)
_SCORE = Stage("score", "segadmin.workflows.score:score", "gpu", after=("textualize",), per_buckets=True, cost=10)
_PREPARE_SCORING = Stage("prepare", "segadmin.workflows.prepare_scoring:prepare", holds="snapshot")
_PUBLISH = "segadmin.workflows.publish:publish"

PLANS: dict[str, tuple[Stage, ...]] = {
    "pretrain": (
        Stage("prepare", "segadmin.workflows.pretrain:prepare", "gpu"),
        _TEXTUALIZE,
        Stage("pretrain", "segadmin.workflows.pretrain:pretrain", "gpu", after=("textualize",), cost=100),
    ),
    "retrain": (
        # Where the weights are looked for must be where they will be used: the gpu queue.
        Stage("prepare", "segadmin.workflows.prepare_training:prepare", "gpu", holds="model"),
        _TEXTUALIZE,
        Stage("baselines", "segadmin.workflows.baselines:baselines", after=("textualize",), cost=10),
        Stage("finetune", "segadmin.workflows.finetune:finetune", "gpu", after=("textualize",), cost=100),
        Stage("evaluate", "segadmin.workflows.evaluate:evaluate", "gpu", after=("finetune", "baselines"), cost=15),
        # Only now: while a model is trained, the nightly refresh goes on with the one before.
        Stage("gate", "segadmin.workflows.gate:gate", "gpu", after=("evaluate",), holds="snapshot"),
        Stage("score", "segadmin.workflows.score:score", "gpu", after=("gate",), per_buckets=True, cost=10),
        Stage("publish", _PUBLISH, after=("score",)),
    ),
    "tune": (
        Stage("prepare", "segadmin.workflows.prepare_training:prepare", "gpu"),
        _TEXTUALIZE,
        Stage("trial", "segadmin.workflows.tune:trial", "gpu", after=("textualize",), parallel="parallel", cost=100),
        Stage("choose", "segadmin.workflows.tune:choose", after=("trial",)),
    ),
    "score": (_PREPARE_SCORING, _TEXTUALIZE, _SCORE, Stage("publish", _PUBLISH, after=("score",))),
    "refresh": (
        _PREPARE_SCORING,
        _TEXTUALIZE,
        _SCORE,
        Stage("outcomes", "segadmin.workflows.outcomes:evaluate_outcomes", after=("score",)),
        Stage("publish", _PUBLISH, after=("outcomes",)),
    ),
    "ingest": (Stage("ingest", "segadmin.workflows.data:ingest"),),
    "compact": (Stage("compact", "segadmin.workflows.data:compact"),),
    "retain": (Stage("retain", "segadmin.workflows.data:retain"),),
    "textualize": (Stage("prepare", "segadmin.workflows.prepare_scoring:prepare"), _TEXTUALIZE),
}

#: Every stage name there is; each is a Celery task ``segadmin.<stage>``.
STAGES = tuple(dict.fromkeys(stage.name for plan in PLANS.values() for stage in plan))


def stage_of(kind: str, name: str) -> Stage:
    """Return a stage of a job kind."""
    return next(stage for stage in PLANS[kind] if stage.name == name)


def held_by(kind: str, stage: str) -> list[str]:
    """Return what a job must hold when ``stage`` begins: what that stage and those before it ask for."""
    names = [one.name for one in PLANS[kind]]
    return [one.holds for one in PLANS[kind][: names.index(stage) + 1] if one.holds]


def ranges_of(stage: Stage, options: Mapping[str, Any], buckets: int, fan_out: int) -> list[tuple[int, int]]:
    """Return what the steps of ``stage`` are cut by: ranges of buckets, numbers, or nothing (-1)."""
    if stage.per_buckets:
        return bucket_ranges(buckets, fan_out)
    return [(n, n) for n in range(options[stage.parallel])] if stage.parallel else [(-1, -1)]


def bucket_ranges(buckets: int, fan_out: int) -> list[tuple[int, int]]:
    """Cut ``buckets`` into at most ``fan_out`` ranges of almost equal length; both ends inclusive."""
    parts = min(buckets, fan_out)
    edges = [buckets * part // parts for part in range(parts + 1)]
    return [(start, end - 1) for start, end in itertools.pairwise(edges)]
