"""How good the two models of a canary probably are on the same users, before outcomes are known.

Each is estimated by itself (:mod:`segadmin.monitoring.estimate`): its probabilities are calibrated on its own test
rows, and outcomes are drawn from them. In each draw both have the same users and the same random numbers (common random
numbers), so chance that both have in common leaves their difference, whose interval is narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segadmin.monitoring.canary import Pair
from segadmin.monitoring.estimate import (
    LEAST_USERS,
    RESAMPLES,
    calibrated,
    fit_calibration,
    metrics_of_outcomes,
    outcomes_of,
)
from segadmin.monitoring.reports import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    #: Labelled rows that a model was not trained on: probabilities, targets, and the keys of the users.
    Reference = tuple[Any, Any, Any]

_SEED, _USERS_SEED = 17, 18


def estimate_pairs(
    champion: tuple[Reference, Numbers], challenger: tuple[Reference, Numbers], resamples: int = RESAMPLES
) -> dict[str, Pair]:
    """Return the metrics that both models will probably have; none with too few users.

    Args:
        champion: its labelled test rows, and its probabilities of the users, ``(n_users, n_segments)``.
        challenger: the same of the challenger, with the same users in the same order.
        resamples: number of draws.
    """
    users = len(champion[1])
    if min(users, *(len(np.unique(reference[2])) for reference, _ in (champion, challenger))) < LEAST_USERS:
        return {}
    drawn = np.stack([list(_draws(*model, resamples)) for model in (champion, challenger)])
    pairs = {}
    for n, metric in enumerate(METRICS):
        values = drawn[:, :, n]
        if np.isfinite(values).all(axis=0).mean() > 0.5:
            means = np.nanmean(values, axis=1)
            pairs[metric] = Pair.of(float(means[0]), float(means[1]), values[1] - values[0])
    return pairs


def _draws(reference: Reference, probabilities: Numbers, resamples: int) -> Iterator[Numbers]:
    """Yield the metrics of each draw; the users of a draw, and their random numbers, are the same for any model."""
    known, targets, keys = reference
    distinct, user_of = np.unique(keys, return_inverse=True)
    of_reference, of_users = np.random.default_rng(_SEED), np.random.default_rng(_USERS_SEED)
    start, users = fit_calibration(known, targets, np.ones(len(targets))), len(probabilities)
    for _ in range(resamples):
        rows = of_reference.integers(len(distinct), size=len(distinct))
        weights = np.bincount(rows, minlength=len(distinct))[user_of].astype(np.float64)
        drawn = probabilities[of_users.integers(users, size=users)]
        chances = calibrated(drawn, fit_calibration(known, targets, weights, start))
        yield metrics_of_outcomes(drawn, outcomes_of(chances, of_users.random((users, 1))))
