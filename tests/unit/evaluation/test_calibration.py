from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segadmin.contracts.backbone import Classifier, Examples, no_progress
from segadmin.errors import PluginContractError
from segadmin.evaluation.calibration import fit_temperature, predict, scaled
from segadmin.evaluation.metrics import expected_calibration_error, log_loss


def _overconfident(rows: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities whose logits are ``factor`` times too large, and targets drawn from the true ones."""
    random = np.random.default_rng(1)
    truth = scaled(np.exp(random.normal(size=(rows, 3))), 1.0)
    targets = np.array([random.choice(3, p=row) for row in truth])
    return scaled(truth, 1 / factor), targets


def test_the_temperature_undoes_overconfidence() -> None:
    probabilities, targets = _overconfident(6000, factor=3.0)
    temperature = fit_temperature(probabilities, targets)
    assert temperature == pytest.approx(3.0, rel=0.1)
    after = scaled(probabilities, temperature)
    assert expected_calibration_error(after, targets) < 0.03 < expected_calibration_error(probabilities, targets)
    assert log_loss(after, targets) < log_loss(probabilities, targets)


def test_no_other_temperature_is_better() -> None:
    probabilities, targets = _overconfident(300, factor=0.5)
    best = log_loss(scaled(probabilities, fit_temperature(probabilities, targets)), targets)
    assert all(best <= log_loss(scaled(probabilities, t), targets) + 1e-9 for t in np.geomspace(0.1, 10, 200))


def test_the_temperature_of_few_rows_is_bounded() -> None:
    right = np.array([[0.9, 0.1], [0.8, 0.2]])
    assert fit_temperature(right, np.array([0, 0])) == pytest.approx(0.1)
    assert fit_temperature(right, np.array([1, 1])) == pytest.approx(10.0)
    assert fit_temperature(np.empty((0, 2)), np.empty(0, np.int64)) == 1.0


@given(st.integers(0, 999), st.floats(0.1, 10))
def test_scaling_keeps_rows_and_the_order_of_segments(seed: int, temperature: float) -> None:
    before = np.random.default_rng(seed).dirichlet(np.ones(4), 5)
    after = scaled(before, temperature)
    assert after.sum(axis=1) == pytest.approx(np.ones(5))
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


class Says(Classifier):
    """A plugin author's classifier that returns what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.report = answer, {}

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        return np.asarray(self.answer, np.float32)

    def save(self, folder: Path) -> None:
        raise AssertionError("not needed here")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([[0.5, 0.5]], r"shape \(1, 2\), not \(2, 2\)"),
        ([[0.5, 0.6], [0.5, 0.5]], "not probabilities"),
        ([[1.5, -0.5], [0.5, 0.5]], "not probabilities"),
        ([[np.nan, 0.5], [0.5, 0.5]], "not probabilities"),
    ],
)
def test_invalid_probabilities_are_refused_and_the_class_is_named(answer: Any, complaint: str) -> None:
    users = Examples(pl.DataFrame({"user_key": [1, 2]}), ("a", "b"), ())
    with pytest.raises(PluginContractError, match=f"Says.predict.*{complaint}"):
        predict(Says(answer), users)
