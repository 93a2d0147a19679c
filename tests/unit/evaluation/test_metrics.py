from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from segadmin.evaluation.metrics import (
    HEADLINES,
    confusion,
    expected_calibration_error,
    log_loss,
    measure,
    reliability_curve,
)

SEGMENTS = ("low", "middle", "high")


def _drawn(seed: int, rows: int, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(columns), rows), random.integers(0, columns, rows)


def test_agrees_with_scikit_learn() -> None:
    probabilities, targets = _drawn(0, 300)
    metrics, predicted = measure(probabilities, targets, SEGMENTS), probabilities.argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert metrics["macro_f1"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    assert metrics["macro_precision"] == pytest.approx(reference.precision_score(targets, predicted, average="macro"))
    assert metrics["macro_recall"] == pytest.approx(reference.recall_score(targets, predicted, average="macro"))
    assert metrics["auroc"] == pytest.approx(reference.roc_auc_score(targets, probabilities, multi_class="ovr"))
    assert metrics["log_loss"] == pytest.approx(reference.log_loss(targets, probabilities))
    assert confusion(probabilities, targets) == reference.confusion_matrix(targets, predicted).tolist()


def test_calibration_error_by_hand() -> None:
    # Two users at 0.9, one of them right; two at 0.6, both right: (|0.5 - 0.9| * 2 + |1 - 0.6| * 2) / 4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.4)


def test_a_reliability_curve_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.5, 0.5]])
    low, middle, high = reliability_curve(probabilities, np.array([0, 1, 0, 0]), 10)
    assert (low.low, low.high, low.rows, low.accuracy) == (0.4, 0.5, 1, 1.0), "a bin holds its upper end"
    assert (middle.low, middle.rows, middle.confidence, middle.accuracy) == (0.5, 1, pytest.approx(0.55), 1.0)
    assert (high.high, high.rows, high.confidence, high.accuracy) == (0.9, 2, pytest.approx(0.9), 0.5)


def test_the_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-7))


def test_a_segment_that_does_not_occur_is_unknown_and_left_out_of_the_means() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    metrics = measure(probabilities, np.array([0, 1, 1]), SEGMENTS)
    assert metrics["segments"]["high"] == {"precision": None, "recall": None, "f1": None, "auroc": None, "support": 0}
    assert metrics["macro_recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["auroc"] == pytest.approx(1.0)


def test_rows_of_a_single_segment_have_no_auroc() -> None:
    metrics = measure(np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 0]), ("a", "b"))
    assert metrics["auroc"] is None
    assert metrics["accuracy"] == 1.0


def test_metrics_of_no_rows_are_none() -> None:
    metrics = measure(np.empty((0, 3)), np.empty(0, np.int64), SEGMENTS)
    assert [metrics[name] for name in HEADLINES] == [None] * len(HEADLINES)
    assert confusion(np.empty((0, 3)), np.empty(0, np.int64)) == [[0] * 3] * 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 5))
def test_metrics_stay_within_their_bounds(seed: int, rows: int, columns: int) -> None:
    probabilities, targets = _drawn(seed, rows, columns)
    metrics = measure(probabilities, targets, [str(n) for n in range(columns)])
    for name in HEADLINES:
        if metrics[name] is not None:
            assert 0 <= metrics[name] <= (np.inf if name == "log_loss" else 1)
    assert sum(segment["support"] for segment in metrics["segments"].values()) == rows
    assert sum(map(sum, confusion(probabilities, targets))) == rows
