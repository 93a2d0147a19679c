from __future__ import annotations

import numpy as np

from segadmin.monitoring.drift import Rule, find_drift
from segadmin.monitoring.histogram import Histogram, quantile_bins


def _profiles(users: int, shift: float = 0.0, features: int = 20) -> tuple[dict[str, Histogram], dict[str, Histogram]]:
    random = np.random.default_rng(1)
    bins = {f"f{n}": quantile_bins(random.normal(size=1000)) for n in range(features)}
    reference = {name: each.of_numbers(random.normal(size=users)) for name, each in bins.items()}
    shifts = {"f3": shift}
    return reference, {
        name: each.of_numbers(random.normal(shifts.get(name, 0.0), size=users)) for name, each in bins.items()
    }


def test_the_feature_that_shifted_is_found_and_described() -> None:
    first, *others = find_drift(*_profiles(2000, shift=0.5))
    assert first.name == "f3"
    assert first.drifted
    assert first.p < 1e-6
    assert 0.2 < first.stability_index < 0.3
    assert first.bin.startswith(("up to", "above"))
    assert abs(first.now - first.before) > 0.05
    assert not any(finding.drifted for finding in others)


def test_the_p_values_are_adjusted_for_the_number_of_features() -> None:
    (alone,) = (finding for finding in find_drift(*_profiles(300, shift=0.3, features=4)) if finding.name == "f3")
    reference, current = _profiles(300, shift=0.3, features=4)
    (only,) = find_drift({"f3": reference["f3"]}, current)
    assert alone.p > 2 * only.p


def test_a_difference_that_is_too_small_to_matter_is_no_drift() -> None:
    reference, current = _profiles(1_000_000, shift=0.02)
    finding = next(each for each in find_drift(reference, current) if each.name == "f3")
    assert finding.p < 1e-6
    assert not finding.drifted
    assert next(each for each in find_drift(reference, current, Rule(least=0.0)) if each.name == "f3").drifted


def test_only_distributions_in_the_same_bins_are_compared() -> None:
    reference, current = _profiles(100, features=2)
    current["f1"] = Histogram(edges=(0.0,), counts=(50, 50, 0))
    assert [finding.name for finding in find_drift(reference, current)] == ["f0"]
    assert find_drift(reference, {}) == []


def test_a_new_category_is_drift() -> None:
    bins = Histogram(categories=("a", "b"))
    (finding,) = find_drift(
        {"segments": bins.of_categories(["a", "b"] * 200)}, {"segments": bins.of_categories(["a", "b", "c", "c"] * 100)}
    )
    assert finding.drifted
    assert (finding.bin, finding.before, finding.now) == ("other", 0.0, 0.5)
