from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, mannwhitneyu

from segadmin.monitoring.histogram import Histogram, quantile_bins
from segadmin.monitoring.two_samples import holm, p_value, stability_index

MANY = np.array([400, 500, 600, 500, 0]), np.array([500, 500, 550, 450, 0])


def test_by_theory_the_p_value_is_that_of_scipy_times_two() -> None:
    table = np.stack(MANY)[:, :-1]
    chi_squared = chi2_contingency(table).pvalue
    samples = (np.repeat(np.arange(4), counts) for counts in table)
    ranks = mannwhitneyu(*samples, method="asymptotic", use_continuity=False).pvalue
    assert p_value(*MANY, ordered=True) == pytest.approx(2 * min(chi_squared, ranks), rel=1e-9)
    assert p_value(*MANY, ordered=False) == pytest.approx(chi_squared, rel=1e-9)


def test_of_few_users_the_p_value_is_exact() -> None:
    """Of 2 bins the permutation test is Fisher's, up to the order in which tables are called extreme."""
    from scipy.stats import fisher_exact

    reference, current = np.array([12, 3, 0]), np.array([2, 9, 0])
    exact = fisher_exact(np.stack([reference, current])[:, :-1]).pvalue
    assert p_value(reference, current, ordered=True, resamples=200_000) == pytest.approx(exact, rel=0.1)


def test_the_order_of_the_groups_does_not_matter() -> None:
    assert p_value(*MANY, ordered=True) == pytest.approx(p_value(*reversed(MANY), ordered=True))


def test_a_shift_is_found_in_fewer_users_when_the_bins_have_an_order() -> None:
    random = np.random.default_rng(0)
    bins = quantile_bins(random.normal(size=1000), 20)
    found = np.zeros(2)
    for _ in range(100):
        counts = [np.asarray(bins.of_numbers(random.normal(shift, size=1000)).counts) for shift in (0.0, 0.2)]
        found += [p_value(*counts, ordered=ordered) < 0.0005 for ordered in (True, False)]
    assert found[0] > 1.5 * found[1] > 0


def test_missing_values_have_no_rank() -> None:
    """More missing values are a difference, but no shift of the others."""
    reference, current = np.array([300, 300, 300, 100]), np.array([270, 270, 270, 190])
    assert p_value(reference, current, ordered=True) == pytest.approx(
        2 * p_value(reference, current, ordered=False), rel=1e-9
    )
    assert p_value(reference, current, ordered=False) < 1e-6


@pytest.mark.parametrize("counts", [([5, 0, 0], [9, 0, 0]), ([0, 0], [4, 2]), ([4, 2], [0, 0])])
def test_where_nothing_can_differ_the_p_value_is_one(counts: tuple[list[int], list[int]]) -> None:
    assert p_value(*map(np.array, counts), ordered=True) == 1.0
    assert stability_index(*map(np.array, counts)) == 0.0


@pytest.mark.parametrize(("users", "bins"), [(60, 5), (300, 20), (20_000, 10)])
def test_p_values_without_a_difference_are_uniform_in_the_tail(users: int, bins: int) -> None:
    random = np.random.default_rng(3)
    values = []
    for _ in range(600):
        where = quantile_bins(random.gamma(1.0, size=max(20, users // 4)), bins)
        counts = [np.asarray(where.of_numbers(random.gamma(1.0, size=users)).counts) for _ in range(2)]
        values.append(p_value(*counts, ordered=True, resamples=2000))
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.075  # 5 %; the spread of 600 draws is 0.9 %


def test_the_stability_index_of_no_difference_is_about_0_whatever_the_number_of_users() -> None:
    random = np.random.default_rng(4)
    share = np.full(10, 0.1)
    for users in (100, 10_000):
        draws = [stability_index(*random.multinomial(users, share, size=2)) for _ in range(400)]
        assert np.mean(draws) < 9 * 2 / users / 2  # uncorrected, the mean is 9 * 2 / users


def test_the_stability_index_of_a_known_shift() -> None:
    """Of normal distributions that are ``d`` deviations apart the index is ``d²`` (less a little in bins)."""
    random = np.random.default_rng(5)
    bins = quantile_bins(random.normal(size=100_000), 20)
    counts = [np.asarray(bins.of_numbers(random.normal(shift, size=100_000)).counts) for shift in (0.0, 0.5)]
    assert stability_index(*counts) == pytest.approx(0.25, rel=0.06)


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert len(holm(np.array([]))) == 0


def test_equal_values_stay_in_one_bin() -> None:
    values = np.array([0.0] * 60 + list(range(1, 41)))
    bins = quantile_bins(values, 10).of_numbers(values)
    assert bins.counts[0] == 60
    assert sum(bins.counts) == 100
    assert bins.counts[-1] == 0


def test_a_value_that_all_have_is_a_bin_of_its_own() -> None:
    bins = quantile_bins(np.full(20, 3.0))
    assert bins.of_numbers(np.array([2.9, 3.0, 3.0, 3.1, np.nan, np.inf])).counts == (1, 2, 1, 2)
    assert [bins.label(n) for n in range(4)] == ["below 3", "3", "above 3", "missing"]


def test_labels_of_bins() -> None:
    bins = Histogram(edges=(1.0, 2.5))
    assert [bins.label(n) for n in range(4)] == ["up to 1", "1 to 2.5", "above 2.5", "missing"]
    segments = Histogram(categories=("low", "high"))
    assert [segments.label(n) for n in range(3)] == ["low", "high", "other"]
    assert segments.of_categories(["high", "new", None, "high"]).counts == (0, 2, 2)


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 counts in 4 bins"):
        Histogram(edges=(1.0, 2.0), counts=(1, 2, 3))
