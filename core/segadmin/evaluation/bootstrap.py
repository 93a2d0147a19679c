"""Confidence intervals: the bootstrap over users, paired to compare two models on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Probabilities = NDArray[np.floating[Any]]
    Draws = NDArray[np.float64]

RESAMPLES = 1000
#: Minimum number of users for an interval: with fewer, a bootstrap interval is far too narrow. The gate requires the
#: same number of rows.
LEAST_USERS = 50
_SEED = 17


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % bootstrap interval over users; no bounds with fewer than :data:`LEAST_USERS` users."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, draws: Draws) -> Interval:
        """Return the percentile interval of ``draws``, ignoring undefined ones."""
        import numpy as np

        defined = draws[np.isfinite(draws)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (value, value)
        return cls(value, float(low), float(high))

    def __str__(self) -> str:
        """Return a text such as ``+0.0021 [-0.0004, +0.0046] (95 %)``."""
        if self.low is None or self.high is None:
            return f"{self.value:+.4f} (too few users for an interval)"
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}] (95 %)"


def auroc_draws(
    probabilities: Probabilities, targets: NDArray[np.int64], users: NDArray[np.int64], resamples: int = RESAMPLES
) -> Draws:
    """Return the macro one-vs-rest AUROC of all rows, then of each resample, ``(1 + resamples,)``.

    Users are drawn with replacement, with all their rows, because the rows of one user are not independent (the
    cluster bootstrap; Efron and Tibshirani: An Introduction to the Bootstrap, 1993). The seed is fixed, so that the
    draws of two models on the same rows can be subtracted.
    """
    import numpy as np

    weights = _weights(users, resamples)
    columns = []
    for segment in range(probabilities.shape[1]):
        positive = targets == segment
        if positive.any() and not positive.all():
            columns.append(_auroc(probabilities[:, segment], positive, weights))
    return np.mean(columns, axis=0) if columns else np.full(1 + resamples, np.nan)


def difference(
    first: Probabilities, second: Probabilities, targets: NDArray[np.int64], users: NDArray[np.int64]
) -> Interval:
    """Return the AUROC of ``first`` minus that of ``second``, on the same rows."""
    import numpy as np

    enough = len(np.unique(users)) >= LEAST_USERS
    resamples = RESAMPLES if enough else 0
    draws = auroc_draws(first, targets, users, resamples) - auroc_draws(second, targets, users, resamples)
    if not enough:
        return Interval(float(draws[0]), None, None)
    return Interval.of(float(draws[0]), draws[1:])


def _weights(users: NDArray[np.int64], resamples: int) -> NDArray[np.float32]:
    """Return how often each row is drawn, ``(1 + resamples, n_rows)``; the first row of weights is all ones."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    distinct, index_of_user = np.unique(users, return_inverse=True)
    counts = random.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), size=resamples)
    weights = np.ones((1 + resamples, len(users)), np.float32)
    weights[1:] = counts[:, index_of_user]
    return weights


def _auroc(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_], weights: NDArray[np.float32]) -> Draws:
    """Return the weighted area under the ROC curve for each row of ``weights``; equal scores count half."""
    import numpy as np

    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    positives = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1, dtype=np.float64)
    negatives = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1, dtype=np.float64)
    negatives_below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    concordant = (positives * negatives_below).sum(axis=1)
    areas: Draws = np.divide(concordant, pairs, out=np.full(len(concordant), np.nan), where=pairs > 0)
    return areas
