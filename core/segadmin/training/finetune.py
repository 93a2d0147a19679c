"""Fine-tuning: clips features, fits, calibrates, and fits the policy and thresholds on validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from segadmin.contracts.backbone import Examples, UnlabelledUsers
from segadmin.evaluation.abstention import apply_policy, learn_policy, learn_thresholds
from segadmin.evaluation.hysteresis import learn_margins
from segadmin.evaluation.policy import Hysteresis, Policy
from segadmin.inference.clipping import Limits
from segadmin.training.context import RunContext
from segadmin.training.dataset import Dataset, with_copies
from segadmin.training.fitting import Fitted, fit


@dataclass(frozen=True)
class Finetuned:
    """A fitted backbone, with the limits, policy and thresholds for its use."""

    fitted: Fitted
    train: Examples  #: its training rows, with copies, clipped
    limits: Limits
    clipped: int  #: values beyond the limits, in training
    policy: Policy
    thresholds: tuple[float | None, ...]  #: by segment; empty if all users are assigned
    hysteresis: Hysteresis


def finetune(
    context: RunContext,
    backbone: str,
    options: dict[str, Any],
    dataset: Dataset,
    *,
    seed: int,
    copies: Sequence[pl.DataFrame] = (),
    auxiliary: Mapping[str, Examples] | None = None,
    unlabelled: UnlabelledUsers | None = None,
    parent: Path | None = None,
    update: bool = False,
    precision: float | None = None,
) -> Finetuned:
    """Fit a backbone on the training rows.

    Args:
        context: receives progress and metrics, and has the checkpoints.
        backbone: name of the backbone.
        options: options of the backbone.
        dataset: trains on ``train``, selects and calibrates on ``validation``; ``test`` is not used.
        seed: random seed.
        copies: texts of augmented copies of training rows.
        auxiliary: rows of auxiliary label sets, by name.
        unlabelled: users without labels; features are clipped to their range, which is better known.
        parent: the folder of an earlier version, for a warm start.
        update: whether that version was trained on the same labels, so that only what is new is to be learnt.
        precision: minimum precision per segment; users below it stay unassigned. Default: all users are assigned.
    """
    limits = Limits.fit(unlabelled.users if unlabelled else dataset.train)
    train = with_copies(dataset.train, copies) if copies else dataset.train
    clipped = replace(dataset, train=train).within(limits)
    tasks = {name: limits.clip(rows) for name, rows in (auxiliary or {}).items()}
    others = limits.clip_unlabelled(unlabelled)
    part = context.within(0.0, 0.95, backbone)
    fitted = fit(
        part, backbone, options, clipped, seed=seed, also=tasks, unlabelled=others, start=parent, update=update
    )
    policy = learn_policy(fitted.validation, dataset.validation, clipped.train.targets)
    probabilities = apply_policy(fitted.validation, dataset.validation, policy)
    thresholds: tuple[float | None, ...] = ()
    if precision is not None:
        thresholds = tuple(learn_thresholds(probabilities, dataset.validation.targets, precision))
    hysteresis = learn_margins(probabilities, dataset.validation.targets)
    return Finetuned(fitted, clipped.train, limits, limits.outside(train), policy, thresholds, hysteresis)
