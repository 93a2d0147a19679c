"""Compares a canary's challenger with the champion: on the same users without labels, and on outcomes once known.

Without labels, both models read the same users of the canary as of the same moment. What can be known of them is how
often they agree, how large their segments are, how sure they are, and how good they probably are
(:mod:`segadmin.monitoring.canary_estimate`). Once outcomes are known, the users of the canary are compared with the
others: who is in the canary is drawn by chance, so the two groups differ by the model alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from segadmin.evaluation.bootstrap import LEAST_USERS, RESAMPLES, auroc_draws
from segadmin.evaluation.metrics import measure
from segadmin.monitoring.two_samples import stability_index
from segadmin.storage.records import NOT_ENOUGH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_SEED = 17
#: Metrics that are measured on outcomes.
MEASURED = ("auroc", "accuracy")


class Pair(BaseModel):
    """A number of both models, and the 95 % interval of the challenger's minus the champion's."""

    model_config = ConfigDict(frozen=True)

    champion: float
    challenger: float
    low: float | None = None  #: ``None``: too few users for an interval
    high: float | None = None

    @property
    def difference(self) -> float:
        """The challenger's minus the champion's."""
        return self.challenger - self.champion

    @classmethod
    def of(cls, champion: float, challenger: float, draws: Numbers) -> Pair:
        """Return a pair with the percentile interval of ``draws`` of the difference, ignoring undefined ones."""
        defined = draws[np.isfinite(draws)]
        if len(defined) < max(1, len(draws) / 2):
            return cls(champion=champion, challenger=challenger)
        low, high = np.percentile(defined, [2.5, 97.5])
        return cls(champion=champion, challenger=challenger, low=float(low), high=float(high))

    def __str__(self) -> str:
        """Return a text such as ``0.7010 and 0.7142: +0.0132 [-0.0100, +0.0364] (95 %)``."""
        interval = "" if self.low is None or self.high is None else f" [{self.low:+.4f}, {self.high:+.4f}] (95 %)"
        return f"{self.champion:.4f} and {self.challenger:.4f}: {self.difference:+.4f}{interval}"


class MeasuredPair(BaseModel):
    """The measured metrics of the users of the canary, and of all others."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    champion_users: int
    challenger_users: int
    metrics: dict[str, Pair] = {}  #: some of :data:`MEASURED`


class CanaryComparison(BaseModel):
    """The comparison of a canary's challenger with the champion."""

    model_config = ConfigDict(frozen=True)

    as_of: datetime
    users: int  #: of the canary
    compared: int  #: of them, read by both models
    agreement: float = 1.0  #: share of these users who have the same segment by both
    agreement_low: float | None = None  #: of the 95 % interval
    agreement_high: float | None = None
    segments: dict[str, Pair] = {}  #: each segment's share of these users
    stability_index: float = 0.0  #: how much the shares of the segments differ, see ``two_samples.stability_index``
    confidence: Pair | None = None  #: mean probability of the most probable segment
    estimated: dict[str, Pair] = {}  #: metrics that the outcomes will have, as far as can be known
    unknown: str = ""  #: why no metrics are estimated
    measured: MeasuredPair | None = None  #: ``None`` while no outcomes are known


@dataclass(frozen=True)
class ReadUsers:
    """What one of the two models says of the users of the canary, in the order of the users."""

    segments: pl.Series  #: null: too little is known of the user
    probabilities: NDArray[np.float64]  #: ``(n_users, n_segments)``, in the order of the model


def compare_users(
    as_of: datetime, users: int, champion: ReadUsers, challenger: ReadUsers, segments: tuple[str, ...]
) -> CanaryComparison:
    """Return the comparison of both models on the same users, without estimated and measured metrics.

    Intervals are those of the bootstrap over users; there are none with fewer than
    :data:`segadmin.evaluation.bootstrap.LEAST_USERS`.

    Args:
        as_of: when both read them.
        users: number of users of the canary, of whom these are some.
        champion: what the champion says.
        challenger: what the challenger says.
        segments: all segments, in the order to show them.
    """
    number = len(champion.segments)
    if not number:
        return CanaryComparison(as_of=as_of, users=users, compared=0)
    old, new = champion.segments.fill_null(NOT_ENOUGH), challenger.segments.fill_null(NOT_ENOUGH)
    names = [*segments, *([NOT_ENOUGH] if NOT_ENOUGH in {*old, *new} else [])]
    is_old, is_new = (np.stack([(each == name).to_numpy() for name in names], axis=1) for each in (old, new))
    sure = [each.probabilities.max(axis=1) for each in (champion, challenger)]
    agree = (old == new).to_numpy().astype(np.float64)
    columns = np.column_stack([is_new.astype(np.float64) - is_old, sure[1] - sure[0], agree])
    draws = _draws(columns)
    return CanaryComparison(
        as_of=as_of,
        users=users,
        compared=number,
        agreement=float(agree.mean()),
        **_agreement_interval(draws[:, -1]),
        segments={
            name: Pair.of(float(is_old[:, n].mean()), float(is_new[:, n].mean()), draws[:, n])
            for n, name in enumerate(names)
        },
        stability_index=stability_index(is_old.sum(axis=0), is_new.sum(axis=0)),
        confidence=Pair.of(float(sure[0].mean()), float(sure[1].mean()), draws[:, -2]),
    )


def _agreement_interval(draws: Numbers) -> dict[str, float]:
    if not len(draws):
        return {}
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"agreement_low": float(low), "agreement_high": float(high)}


def _draws(values: Numbers) -> Numbers:
    """Return the means of the columns in each resample of the rows; no resamples of too few rows."""
    number = len(values)
    resamples = RESAMPLES if number >= LEAST_USERS else 0
    counts = np.random.default_rng(_SEED).multinomial(number, np.full(number, 1 / number), size=resamples)
    means: Numbers = counts @ values / number
    return means


def compare_outcomes(
    snapshot: int, champion: tuple[Any, Any], challenger: tuple[Any, Any], segments: tuple[str, ...]
) -> MeasuredPair:
    """Return the measured metrics of the two groups of users, with bootstrap intervals of the differences.

    Args:
        snapshot: its number.
        champion: probabilities ``(n_users, n_segments)`` and targets ``(n_users,)`` of the users of the champion.
        challenger: the same of the users of the canary.
        segments: in the order of the columns.
    """
    sizes = [len(targets) for _, targets in (champion, challenger)]
    enough = min(sizes) >= LEAST_USERS
    values = [measure(*group, segments) for group in (champion, challenger)]
    drawn = [_metric_draws(*group, RESAMPLES if enough else 0) for group in (champion, challenger)]
    pairs = {}
    for metric in MEASURED:
        if values[0][metric] is not None and values[1][metric] is not None:
            # Other draws of each group are subtracted: the groups are independent, and their draws have one seed.
            draws = np.roll(drawn[1][metric], 1) - drawn[0][metric]
            pairs[metric] = Pair.of(values[0][metric], values[1][metric], draws)
    return MeasuredPair(snapshot=snapshot, champion_users=sizes[0], challenger_users=sizes[1], metrics=pairs)


def _metric_draws(probabilities: Any, targets: Any, resamples: int) -> dict[str, Numbers]:
    right = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    users = np.arange(len(targets))
    return {
        "auroc": auroc_draws(probabilities, targets, users, resamples)[1:] if len(targets) else np.empty(0),
        "accuracy": _draws(right[:, None])[:, 0] if resamples else np.empty(0),
    }
