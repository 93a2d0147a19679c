"""Compares the histograms of two groups of users: p-values that hold for any number of users, and an effect size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

#: Expected number of users in a bin below which the distribution of the statistics is found by resampling.
FEW = 50.0
#: p-values by theory above this are not made exact: they decide nothing.
_CLEARLY_NONE = 0.05
RESAMPLES = 20_000
_CHUNK = 20_000
_SEED = 17


def p_value(reference: Counts, current: Counts, *, ordered: bool, resamples: int = RESAMPLES) -> float:
    """Return the probability of a difference as large as this between two groups of the same distribution.

    Of two tests the smaller p-value, times two: Pearson's chi-squared test of homogeneity, and, where the bins have an
    order, the rank test of Wilcoxon, Mann and Whitney for a shift, which finds shifts in fewer users. Where a bin is
    expected to have few users, both are permutation tests: users are dealt to the groups again, many times.

    Args:
        reference: users by bin, ``(n_bins,)``; the last bin holds missing values and has no order.
        current: the same of the other group.
        ordered: whether the other bins have an order.
        resamples: how often users are dealt again, so that p-values down to ``2 / resamples`` can be told apart.
    """
    from scipy.stats import chi2

    filled = (reference + current) > 0
    if not reference.sum() or not current.sum() or filled.sum() < 2:
        return 1.0
    pooled, some = (reference + current)[filled], current[filled]
    missing = bool(filled[-1])
    ranked = ordered and len(pooled) - missing > 2
    observed = _statistics(pooled, some[None, :], missing=missing, ranked=ranked)[:, 0]
    freedom = np.array([len(pooled) - 1, 1])[: len(observed)]
    by_theory = chi2.sf(observed, freedom)
    smallest_group = min(reference.sum(), current.sum()) / pooled.sum()
    if pooled.min() * smallest_group >= FEW or _smaller(by_theory) > _CLEARLY_NONE:
        return _smaller(by_theory)
    return _smaller(_by_resampling(pooled, int(some.sum()), observed, resamples, missing=missing, ranked=ranked))


def _smaller(p_values: Numbers) -> float:
    """Return the smallest p-value, corrected for their number (Bonferroni)."""
    return float(min(1.0, len(p_values) * p_values.min()))


def _statistics(pooled: Counts, current: Counts, *, missing: bool, ranked: bool) -> Numbers:
    """Return the statistics of possible counts of the current group, ``(n_tests, n_draws)``.

    Args:
        pooled: users of both groups by bin, ``(n_bins,)``, none 0.
        current: those of the current group, ``(n_draws, n_bins)``.
        missing: whether the last bin is that of missing values.
        ranked: whether to compute the rank statistic too.
    """
    total, size = pooled.sum(), current[0].sum()
    expected = pooled * (size / total)
    # Of the two rows of the table only one is needed: the deviations of the other are the same.
    chi_squared: Numbers = ((current - expected) ** 2 / expected).sum(axis=1) * (total / (total - size))
    if not ranked:
        return chi_squared[None, :]
    known = slice(None, -1) if missing else slice(None)
    return np.stack([chi_squared, _rank_statistic(pooled[known].astype(np.float64), current[:, known])])


def _rank_statistic(pooled: Numbers, current: Counts) -> Numbers:
    """Return the squared standardized rank sum, corrected for ties, ``(n_draws,)``."""
    total, sizes = pooled.sum(), current.sum(axis=1)
    middle_ranks = np.cumsum(pooled) - pooled / 2 - total / 2  # of a bin, centred
    variance = (pooled * middle_ranks**2).sum() / max(total - 1, 1)
    scale = variance * sizes * (total - sizes) / total
    squares: Numbers = np.divide((current @ middle_ranks) ** 2, scale, out=np.zeros(len(sizes)), where=scale > 0)
    return squares


def _by_resampling(
    pooled: Counts, size: int, observed: Numbers, resamples: int, *, missing: bool, ranked: bool
) -> Numbers:
    """Return the permutation p-values, ``(n_tests,)``: the observed arrangement is one of the possible ones."""
    random = np.random.default_rng(_SEED)
    at_least = np.ones(len(observed))
    for start in range(0, resamples, _CHUNK):
        draws = random.multivariate_hypergeometric(
            pooled, size, size=min(_CHUNK, resamples - start), method="marginals"
        )
        drawn = _statistics(pooled, draws, missing=missing, ranked=ranked)
        at_least += (drawn >= observed[:, None] * (1 - 1e-9)).sum(axis=1)
    return at_least / (1 + resamples)


def stability_index(reference: Counts, current: Counts) -> float:
    """Return the population stability index (PSI), less what it is on average between groups without a difference.

    That is ``(1 / n + 1 / m) (B - 1)`` for groups of ``n`` and ``m`` users in ``B`` bins (Yurdakul and Naranjo:
    Statistical properties of the population stability index. Journal of Risk Model Validation, 2020). Half a user is
    added to every bin, as empty ones have no logarithm. At least 0.
    """
    filled = (reference + current) > 0
    if not reference.sum() or not current.sum() or filled.sum() < 2:
        return 0.0
    first, second = ((counts[filled] + 0.5) / (counts[filled] + 0.5).sum() for counts in (reference, current))
    index = ((first - second) * np.log(first / second)).sum()
    chance = (1 / reference.sum() + 1 / current.sum()) * (filled.sum() - 1)
    return max(0.0, float(index - chance))


def holm(p_values: Numbers) -> Numbers:
    """Return p-values adjusted for their number, ``(n_tests,)``: Holm's method, which holds however they depend.

    Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics, 1979.
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    ascending: Any = np.maximum.accumulate(p_values[order] * np.arange(count, 0, -1))
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(ascending, 1.0)
    return adjusted
