"""Estimates how good a model's predictions are before the outcomes are known (confidence-based estimation).

If probabilities are calibrated, they state how many predictions are right. They are calibrated again on labelled rows,
the reference. Then outcomes are drawn from them, many times, and measured as the true ones will be: the mean is the
estimate, and 95 % of the draws are its interval. Every draw also draws the users and, for the calibration, the users
of the reference, so the interval is that of the metric which will be measured, not of its expectation.

The method is CBPE of NannyML (Białek et al.: Estimating Model Performance Under Covariate Shift Without Labels. 2024).
It assumes that users with the same text and features still do the same: it cannot see concept drift, and knows nothing
of users unlike those of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from segadmin.monitoring.reports import METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Probabilities = NDArray[np.floating[Any]]
    Numbers = NDArray[np.float64]
    Targets = NDArray[np.int64]

RESAMPLES = 200
#: Users of either group below which nothing is estimated.
LEAST_USERS = 50
_SEGMENT_METRICS = ("auroc", "f1")
_SEED = 17
#: Keeps the offset of a segment that no labelled row is in from running away.
_RIDGE = 1e-3


class Expected(BaseModel):
    """An estimated metric with the 95 % interval of the one that will be measured."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return a text such as ``0.8123 [0.7990, 0.8241]``."""
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


class Estimate(BaseModel):
    """The estimated metrics of a snapshot; undefined ones are left out."""

    model_config = ConfigDict(frozen=True)

    users: int
    reference_rows: int  #: labelled rows by which the probabilities were calibrated
    metrics: dict[str, Expected] = {}  #: some of :data:`METRICS`
    segments: dict[str, dict[str, Expected]] = {}  #: ``auroc`` and ``f1``, each segment against the others


def estimate_performance(
    reference: tuple[Probabilities, Targets, NDArray[np.int64]],
    probabilities: Probabilities,
    segments: Sequence[str],
    resamples: int = RESAMPLES,
) -> Estimate | None:
    """Return the metrics that ``probabilities`` will have; ``None`` with fewer than :data:`LEAST_USERS` on either side.

    Args:
        reference: labelled rows that the model was not trained on: probabilities ``(n_rows, n_segments)``, targets
            ``(n_rows,)`` and the keys of the users ``(n_rows,)``, whose rows are drawn together.
        probabilities: of the current users, ``(n_users, n_segments)``.
        segments: in the order of the columns.
        resamples: number of draws.
    """
    known, targets, keys = reference
    distinct, user_of = np.unique(keys, return_inverse=True)
    if min(len(distinct), len(probabilities)) < LEAST_USERS:
        return None
    random, draws = np.random.default_rng(_SEED), []
    start = fit_calibration(known, targets, np.ones(len(targets)))
    for _ in range(resamples):
        weights = np.bincount(random.integers(len(distinct), size=len(distinct)), minlength=len(distinct))[user_of]
        drawn = probabilities[random.integers(len(probabilities), size=len(probabilities))]
        chances = calibrated(drawn, fit_calibration(known, targets, weights.astype(np.float64), start))
        draws.append(metrics_of_outcomes(drawn, outcomes_of(chances, random.random((len(chances), 1)))))
    values = np.stack(draws)
    expected = [_expected(column) for column in values.T]
    overall, by_segment = expected[: len(METRICS)], expected[len(METRICS) :]
    pairs = zip(by_segment[::2], by_segment[1::2], strict=True)
    return Estimate(
        users=len(probabilities),
        reference_rows=len(targets),
        metrics=_defined(METRICS, overall),
        segments={name: _defined(_SEGMENT_METRICS, pair) for name, pair in zip(segments, pairs, strict=True)},
    )


def _defined(names: Sequence[str], values: Sequence[Expected | None]) -> dict[str, Expected]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _expected(draws: Numbers) -> Expected | None:
    defined = draws[np.isfinite(draws)]
    if len(defined) < len(draws) / 2:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return Expected(value=float(defined.mean()), low=float(low), high=float(high))


def fit_calibration(
    probabilities: Probabilities, targets: Targets, weights: Numbers, start: Numbers | None = None
) -> Numbers:
    """Return a slope and an offset per segment, ``(1 + n_segments,)``, with the lowest log-loss on labelled rows.

    Temperature scaling with a bias for each class (Alexandari, Kundaje and Shrikumar: Maximum Likelihood with
    Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation. ICML 2020). The first offset is 0.
    """
    from scipy.optimize import minimize

    logits, width = _logits(probabilities), probabilities.shape[1]
    hits = np.zeros(probabilities.shape)
    hits[np.arange(len(targets)), targets] = 1.0
    total = weights.sum()

    def loss(free: Numbers) -> tuple[float, Numbers]:
        scores = logits * free[0] + np.concatenate([[0.0], free[1:]])
        scores = scores - scores.max(axis=1, keepdims=True)
        norms = np.log(np.exp(scores).sum(axis=1))
        errors = (np.exp(scores - norms[:, None]) - hits) * weights[:, None]
        gradient = np.concatenate([[(errors * logits).sum()], errors.sum(axis=0)[1:]])
        value = (weights * (norms - (scores * hits).sum(axis=1))).sum() + _RIDGE * (free[1:] ** 2).sum()
        gradient[1:] += 2 * _RIDGE * free[1:]
        return float(value / total), gradient / total

    begin = np.concatenate([[1.0], np.zeros(width - 1)]) if start is None else np.delete(start, 1)
    bounds = [(0.01, 10.0)] + [(-10.0, 10.0)] * (width - 1)
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.insert(found, 1, 0.0)


def calibrated(probabilities: Probabilities, parameters: Numbers) -> Numbers:
    """Return the probabilities after :func:`fit_calibration`, rows summing to 1."""
    scores = _logits(probabilities) * parameters[0] + parameters[1:]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _logits(probabilities: Probabilities) -> Numbers:
    logits: Numbers = np.log(np.clip(probabilities.astype(np.float64), 1e-6, 1.0))
    return logits


def outcomes_of(chances: Numbers, drawn: Numbers) -> Targets:
    """Return the outcome of each user: the segment in whose part of the unit interval the number ``drawn`` lies.

    Args:
        chances: the probabilities, ``(n_users, n_segments)``.
        drawn: a number in [0, 1) of each user, ``(n_users, 1)``.
    """
    outcomes: Targets = np.minimum((np.cumsum(chances, axis=1) < drawn).sum(axis=1), chances.shape[1] - 1)
    return outcomes


def metrics_of_outcomes(probabilities: Probabilities, targets: Targets) -> Numbers:
    """Return :data:`METRICS`, then AUROC and F1 of each segment; as :func:`segadmin.evaluation.metrics.measure`."""
    from scipy.stats import rankdata

    width = probabilities.shape[1]
    hits = targets[:, None] == np.arange(width)
    positives, predicted = hits.sum(axis=0), probabilities.argmax(axis=1)
    ranks = (rankdata(probabilities, axis=0) * hits).sum(axis=0)
    pairs = positives * (len(targets) - positives)
    concordant = ranks - positives * (positives + 1) / 2
    auroc = np.divide(concordant, pairs, out=np.full(width, np.nan), where=pairs > 0)
    chosen = np.bincount(predicted, minlength=width)
    right = np.bincount(predicted[predicted == targets], minlength=width)
    f1 = np.where(positives > 0, 2 * right / np.maximum(chosen + positives, 1), np.nan)
    overall = [_mean(auroc), _mean(f1), float((predicted == targets).mean())]
    return np.concatenate([overall, np.stack([auroc, f1], axis=1).ravel()])


def _mean(values: Numbers) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")
