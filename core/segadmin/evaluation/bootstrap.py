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
#: Resamples that are measured at once.
_AT_ONCE = 32


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


class Resamples:
    """Draws of users with replacement, the same for all models that are measured on their rows.

    Users are drawn with all their rows, because the rows of one user are not independent (the cluster bootstrap; Efron
    and Tibshirani: An Introduction to the Bootstrap, 1993). The seed is fixed, so that the draws of two models on the
    same rows can be subtracted.

    Args:
        users: of the rows, ``(n_rows,)``.
        number: how many resamples.
    """

    def __init__(self, users: NDArray[np.int64], number: int = RESAMPLES) -> None:
        import numpy as np

        random = np.random.default_rng(_SEED)
        distinct, self._index_of_user = np.unique(users, return_inverse=True)
        #: How often each user is drawn, ``(n_users, 1 + number)``; the first column is all ones.
        self._counts = np.ones((len(distinct), 1 + number), np.float32)
        if (n_users := len(distinct)) > 0:
            self._counts[:, 1:] = random.multinomial(n_users, np.full(n_users, 1 / n_users), size=number).T

    def auroc(self, probabilities: Probabilities, targets: NDArray[np.int64]) -> Draws:
        """Return the macro one-vs-rest AUROC of all rows, then of each resample, ``(1 + number,)``."""
        import numpy as np

        columns = []
        for segment in range(probabilities.shape[1]):
            positive = targets == segment
            if positive.any() and not positive.all():
                columns.append(self._area(probabilities[:, segment], positive))
        return np.mean(columns, axis=0) if columns else np.full(self._counts.shape[1], np.nan)

    def _area(self, scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> Draws:
        """Return the weighted area under the ROC curve, as :meth:`auroc`; equal scores count half.

        Some resamples at a time, whose weights and sums fit into the cache of a processor: it is several times as fast.
        """
        import numpy as np

        order = np.argsort(scores, kind="stable")
        ordered, user = scores[order], self._index_of_user[order]
        positives = np.flatnonzero(positive[order])
        below = np.searchsorted(ordered, ordered[positives], "left")  # rows with a lower score than each positive one
        up_to = np.searchsorted(ordered, ordered[positives], "right")
        areas = np.empty(self._counts.shape[1])
        for first in range(0, len(areas), _AT_ONCE):
            weights = self._counts[:, first : first + _AT_ONCE][user]
            of_positives = weights[positives].astype(np.float64)
            weights[positives] = 0
            negatives = np.zeros((len(order) + 1, weights.shape[1]))
            np.cumsum(weights, axis=0, out=negatives[1:])
            concordant = (of_positives * (negatives[below] + negatives[up_to])).sum(axis=0) / 2
            pairs = of_positives.sum(axis=0) * negatives[-1]
            undefined = np.full(len(pairs), np.nan)
            areas[first : first + _AT_ONCE] = np.divide(concordant, pairs, out=undefined, where=pairs > 0)
        return areas


def auroc_draws(
    probabilities: Probabilities, targets: NDArray[np.int64], users: NDArray[np.int64], resamples: int = RESAMPLES
) -> Draws:
    """Return the macro one-vs-rest AUROC of all rows, then of each of :class:`Resamples`, ``(1 + resamples,)``."""
    return Resamples(users, resamples).auroc(probabilities, targets)


def difference(
    first: Probabilities, second: Probabilities, targets: NDArray[np.int64], users: NDArray[np.int64]
) -> Interval:
    """Return the AUROC of ``first`` minus that of ``second``, on the same rows."""
    import numpy as np

    enough = len(np.unique(users)) >= LEAST_USERS
    resamples = Resamples(users, RESAMPLES if enough else 0)
    draws = resamples.auroc(first, targets) - resamples.auroc(second, targets)
    if not enough:
        return Interval(float(draws[0]), None, None)
    return Interval.of(float(draws[0]), draws[1:])
