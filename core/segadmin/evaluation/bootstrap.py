"""How sure a figure is: the bootstrap over users, paired where two models are compared on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Probabilities = NDArray[np.floating[Any]]
    Draws = NDArray[np.float64]

RESAMPLES = 1000
#: Of fewer users no interval is given: a resample draws from those few alone, so it is far too narrow, and one more
#: user would move it. The gate asks for as many rows.
LEAST_USERS = 50
_SEED = 17


@dataclass(frozen=True)
class Interval:
    """A figure, and the middle 95 % of what resampling the users gives; ``None`` of fewer than :data:`LEAST_USERS`."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, draws: Draws) -> Interval:
        """Return the percentile interval of ``draws``; those that are undefined do not count."""
        import numpy as np

        known = draws[np.isfinite(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (value, value)
        return cls(value, float(low), float(high))

    def __str__(self) -> str:
        """Return such as ``+0.0021 [-0.0004, +0.0046] (95 %)``."""
        if self.low is None or self.high is None:
            return f"{self.value:+.4f} (too few users for an interval)"
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}] (95 %)"


def auroc_draws(
    probabilities: Probabilities, targets: NDArray[np.int64], users: NDArray[np.int64], resamples: int = RESAMPLES
) -> Draws:
    """Return the macro one-vs-rest AUROC of all rows, then of each resample, ``(1 + resamples,)``.

    Users are drawn with replacement and bring all their rows, for the rows of one user are no independent witnesses
    (the cluster bootstrap; Efron and Tibshirani: An Introduction to the Bootstrap, 1993). The same users are drawn
    every time, so that the draws of two models on the same rows may be subtracted.
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
    one: Probabilities, other: Probabilities, targets: NDArray[np.int64], users: NDArray[np.int64]
) -> Interval:
    """Return by how much the AUROC of ``one`` is higher than that of ``other``, on the same rows."""
    import numpy as np

    enough = len(np.unique(users)) >= LEAST_USERS
    resamples = RESAMPLES if enough else 0
    draws = auroc_draws(one, targets, users, resamples) - auroc_draws(other, targets, users, resamples)
    if not enough:
        return Interval(float(draws[0]), None, None)
    return Interval.of(float(draws[0]), draws[1:])


def _weights(users: NDArray[np.int64], resamples: int) -> NDArray[np.float32]:
    """Return how often each row is drawn, ``(1 + resamples, n_rows)``; once each in the first."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    distinct, place = np.unique(users, return_inverse=True)
    times = random.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), size=resamples)
    weights = np.ones((1 + resamples, len(users)), np.float32)
    weights[1:] = times[:, place]
    return weights


def _auroc(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_], weights: NDArray[np.float32]) -> Draws:
    """Return the weighted area under the ROC curve for each row of ``weights``; equal scores count half."""
    import numpy as np

    order = np.argsort(scores, kind="stable")
    begins = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    good = np.add.reduceat(weights[:, order] * positive[order], begins, axis=1, dtype=np.float64)
    bad = np.add.reduceat(weights[:, order] * ~positive[order], begins, axis=1, dtype=np.float64)
    below = np.cumsum(bad, axis=1) - bad / 2
    pairs = good.sum(axis=1) * bad.sum(axis=1)
    won = (good * below).sum(axis=1)
    areas: Draws = np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)
    return areas
