from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segadmin.evaluation.metrics import measure
from segadmin.monitoring.estimate import calibrated, estimate_performance, fit_calibration, metrics_of_outcomes

SEGMENTS = ("low", "mid", "high")


def _rows(users: int, seed: int, *, sharpness: float = 1.0, shift: float = 0.0) -> tuple[Any, Any, Any]:
    """Return calibrated probabilities, the targets that are drawn from them, and the users."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(users, 3)) * 1.2 + np.array([shift, 0.0, 0.0])
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (np.cumsum(chances, axis=1) < random.random((users, 1))).sum(axis=1)
    told = chances**sharpness  # a model that is too sure, or not sure enough
    return told / told.sum(axis=1, keepdims=True), targets, np.arange(users)


def test_metrics_are_those_of_an_evaluation() -> None:
    probabilities, targets, _ = _rows(500, seed=1)
    measured = measure(probabilities, targets, SEGMENTS)
    expected = [measured[name] for name in ("auroc", "macro_f1", "accuracy")]
    expected += [measured["segments"][segment][name] for segment in SEGMENTS for name in ("auroc", "f1")]
    assert metrics_of_outcomes(probabilities, targets).tolist() == pytest.approx(expected)


def test_a_segment_that_does_not_occur_is_left_out() -> None:
    probabilities, targets, _ = _rows(500, seed=1)
    some = targets < 2
    measured = measure(probabilities[some], targets[some], SEGMENTS)
    found = metrics_of_outcomes(probabilities[some], targets[some])
    assert found[:3].tolist() == pytest.approx([measured[name] for name in ("auroc", "macro_f1", "accuracy")])
    assert np.isnan(found[-2:]).all()


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_the_estimate_is_right_without_labels_even_if_the_model_is_too_sure(sharpness: float) -> None:
    """The current users differ from the reference, so the metrics of the reference would be wrong."""
    reference = _rows(3000, seed=1, sharpness=sharpness)
    probabilities, targets, _ = _rows(3000, seed=2, sharpness=sharpness, shift=1.5)
    estimate = estimate_performance(reference, probabilities, SEGMENTS)
    assert estimate is not None
    truth = measure(probabilities, targets, SEGMENTS)
    for name in ("auroc", "macro_f1", "accuracy"):
        assert estimate.metrics[name].value == pytest.approx(truth[name], abs=0.025)
        assert estimate.metrics[name].low <= truth[name] <= estimate.metrics[name].high
    before = measure(reference[0], reference[1], SEGMENTS)["accuracy"]
    assert abs(before - truth["accuracy"]) > 3 * abs(estimate.metrics["accuracy"].value - truth["accuracy"])
    for segment in SEGMENTS:
        assert estimate.segments[segment]["auroc"].value == pytest.approx(truth["segments"][segment]["auroc"], abs=0.03)


def test_the_interval_holds_what_is_measured_later() -> None:
    inside = 0
    for seed in range(40):
        probabilities, targets, _ = _rows(300, seed=1000 + seed)
        estimate = estimate_performance(_rows(300, seed=seed), probabilities, SEGMENTS, resamples=100)
        assert estimate is not None
        auroc = estimate.metrics["auroc"]
        inside += auroc.low <= measure(probabilities, targets, SEGMENTS)["auroc"] <= auroc.high
    assert inside >= 35  # 38 of 40 on average


def test_rows_of_one_user_are_drawn_together() -> None:
    """Five equal rows of each user are no more known than one."""
    probabilities, targets, users = _rows(200, seed=1)
    current, *_ = _rows(5_000, seed=2)
    repeated = tuple(np.repeat(each, 5, axis=0) for each in (probabilities, targets, users))
    single = estimate_performance((probabilities, targets, users), current, SEGMENTS)
    fivefold = estimate_performance(repeated, current, SEGMENTS)  # type: ignore[arg-type]
    assert single is not None
    assert fivefold is not None
    widths = [each.metrics["accuracy"].high - each.metrics["accuracy"].low for each in (single, fivefold)]
    assert widths[1] > 0.8 * widths[0]


def test_calibration_finds_the_slope_and_the_offsets() -> None:
    probabilities, targets, _ = _rows(20_000, seed=1, sharpness=2.0)
    parameters = fit_calibration(probabilities, targets, np.ones(len(targets)))
    assert parameters[0] == pytest.approx(0.5, abs=0.05)
    assert parameters[1] == 0.0
    assert parameters[2:] == pytest.approx([0.0, 0.0], abs=0.1)
    assert calibrated(probabilities, parameters).sum(axis=1) == pytest.approx(1.0)


def test_a_segment_without_rows_does_not_break_the_calibration() -> None:
    probabilities, targets, users = _rows(300, seed=1)
    reference = probabilities, np.minimum(targets, 1), users
    estimate = estimate_performance(reference, probabilities, SEGMENTS, resamples=20)
    assert estimate is not None
    assert set(estimate.metrics) == {"auroc", "macro_f1", "accuracy"}


def test_too_few_users_give_no_estimate() -> None:
    probabilities, targets, users = _rows(100, seed=1)
    assert estimate_performance((probabilities, targets, users % 40), probabilities, SEGMENTS) is None
    assert estimate_performance((probabilities, targets, users), probabilities[:40], SEGMENTS) is None
