"""Intervals by resampling users: right in the middle, as wide as the theory says, and paired."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from segadmin.evaluation.bootstrap import LEAST_USERS, Interval, Resamples, auroc_draws, difference

RANDOM = np.random.default_rng(3)
N = 400
TARGETS = RANDOM.integers(0, 2, N)
USERS = np.arange(N)


def scores(noise: float, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    yes = np.round(TARGETS + np.random.default_rng(seed).normal(0, noise, N), 1)  # rounded: with ties
    yes = (yes - yes.min()) / (yes.max() - yes.min())
    return np.stack([1 - yes, yes], axis=1)


def test_without_resampling_it_is_the_auroc_of_scikit_learn() -> None:
    probabilities = scores(1.0, 1)
    assert auroc_draws(probabilities, TARGETS, USERS, 5)[0] == pytest.approx(
        roc_auc_score(TARGETS, probabilities[:, 1]), abs=1e-6
    )


def test_the_spread_agrees_with_the_theory() -> None:
    """Hanley and McNeil 1982 give the standard error of an AUROC of 0.76 with 200 of each kind as about 0.024."""
    draws = auroc_draws(scores(1.0, 1), TARGETS, USERS)
    assert 0.018 < draws[1:].std() < 0.030


def test_rows_of_one_user_are_resampled_together() -> None:
    probabilities, targets = np.repeat(scores(1.0, 1), 4, axis=0), np.repeat(TARGETS, 4)
    clustered = auroc_draws(probabilities, targets, np.repeat(USERS, 4))[1:].std()
    naive = auroc_draws(probabilities, targets, np.arange(4 * N))[1:].std()
    assert clustered > 1.7 * naive


def test_a_paired_difference_is_found_where_single_intervals_overlap() -> None:
    better, worse = scores(0.9, 1), scores(0.9, 1)
    worse[:40] = worse[:40][:, ::-1]  # the same but for a tenth of the rows
    apart = difference(better, worse, TARGETS, USERS)
    assert apart.low is not None
    assert apart.low > 0
    alone = Interval.of(0.0, auroc_draws(worse, TARGETS, USERS)[1:])
    assert alone.high is not None
    assert alone.high > auroc_draws(better, TARGETS, USERS)[0] - apart.value / 2
    assert difference(better, better, TARGETS, USERS) == Interval(0.0, 0.0, 0.0)
    assert str(Interval(0.0021, -0.0004, 0.0046)) == "+0.0021 [-0.0004, +0.0046] (95 %)"


def test_few_users_give_no_interval_however_many_their_rows() -> None:
    better, worse, few = scores(0.9, 1), scores(0.9, 2), USERS % (LEAST_USERS - 1)
    lead = difference(better, worse, TARGETS, few)
    assert (lead.low, lead.high) == (None, None)
    assert lead.value == pytest.approx(difference(better, worse, TARGETS, USERS).value)
    assert str(Interval(0.0021, None, None)) == "+0.0021 (too few users for an interval)"
    assert difference(better, worse, TARGETS, USERS % LEAST_USERS).low is not None


def test_an_empty_segment_is_left_out() -> None:
    three = np.concatenate([scores(1.0, 1), np.zeros((N, 1))], axis=1)
    assert auroc_draws(three, TARGETS, USERS, 3)[0] == auroc_draws(scores(1.0, 1), TARGETS, USERS, 3)[0]
    assert np.isnan(auroc_draws(three[:5], np.zeros(5, int), USERS[:5], 3)).all()


def test_a_resample_is_the_area_with_its_users_repeated() -> None:
    """However many are measured at once: the area is that of pairs, counted one by one."""
    users, targets = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 1, 0, 1, 0])
    ties = np.array([0.2, 0.7, 0.7, 0.7, 0.4, 0.4])
    draws = Resamples(users, 99).auroc(np.stack([1 - ties, ties], axis=1), targets)
    random = np.random.default_rng(17)
    counts = np.vstack([np.ones(4), random.multinomial(4, np.full(4, 0.25), size=99)])[:, users]
    for drawn, area in zip(counts, draws, strict=True):
        rows = np.repeat(np.arange(6), drawn.astype(int))
        ours, others = ties[rows[targets[rows] == 1]], ties[rows[targets[rows] == 0]]
        wins = [(one > other) + (one == other) / 2 for one in ours for other in others]
        assert area == pytest.approx(np.mean(wins)) if wins else np.isnan(area)


def test_without_rows_no_area_is_defined() -> None:
    assert np.isnan(Resamples(np.empty(0, np.int64), 3).auroc(np.empty((0, 2)), np.empty(0, int))).all()
