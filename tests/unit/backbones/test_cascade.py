"""The cascade: the student decides where it is sure, the language model reads the other users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segadmin.contracts.backbone import Classifier, Examples, FitContext, no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.cascade import CascadeClassifier, choose_threshold
from segadmin_plugins.backbones.pooled import fit_pool

OPTIONS = {
    "text": "tiny",
    "text_options": "max_tokens=24,epochs=4,batch_size=16,width=64,head_steps=60,learning_rate=2e-3",
}


class Fixed(Classifier):
    """A model with given probabilities; it counts the users that it reads."""

    def __init__(self, probabilities: NDArray[np.float32]) -> None:
        self.probabilities, self.report, self.read = probabilities, {}, 0

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        self.read += len(examples)
        return self.probabilities[examples.frame["user_key"].to_numpy()]

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def probabilities_of(first: list[float]) -> NDArray[np.float32]:
    return np.array([[value, 1 - value, 0.0] for value in first], np.float32)


def test_only_the_users_of_whom_the_student_is_not_sure_are_read() -> None:
    student, text = Fixed(probabilities_of([0.9, 0.6, 0.2])), Fixed(probabilities_of([0.1, 0.2, 0.3]))
    model = CascadeClassifier(text, student, 0.75, 1.0, {})
    probabilities = model.predict(planted(3))
    np.testing.assert_allclose(probabilities[:, 0], [0.9, 0.2, 0.2])
    assert (student.read, text.read) == (3, 1)
    assert model.inference["language_model_fraction"] == pytest.approx(1 / 3, abs=1e-4)


def test_only_the_probabilities_of_the_student_are_scaled() -> None:
    student, text = Fixed(probabilities_of([0.9, 0.6, 0.2])), Fixed(probabilities_of([0.1, 0.2, 0.3]))
    probabilities = CascadeClassifier(text, student, 0.75, 2.0, {}).predict(planted(3))
    np.testing.assert_allclose(probabilities[:, 0], [0.75, 0.2, 1 / 3], atol=1e-4)


def test_the_language_model_is_not_called_when_the_student_is_always_sure() -> None:
    text = Fixed(probabilities_of([0.1, 0.2, 0.3]))
    model = CascadeClassifier(text, Fixed(probabilities_of([0.9, 0.8, 0.1])), 0.5, 1.0, {})
    model.predict(planted(3))
    assert text.read == 0
    assert model.inference == {"language_model_fraction": 0.0}
    assert model.predict(planted(3).__class__(planted(3).frame.head(0), *_names())).shape[0] == 0


def _names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    examples = planted(3)
    return examples.segments, examples.feature_names


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60), st.sampled_from([0.6, 0.9, 0.99])
)
def test_the_threshold_is_the_lowest_with_the_wanted_agreement(rows: list[tuple[int, bool]], agreement: float) -> None:
    confidence = np.array([0.5 + step / 50 for step, _ in rows])
    student = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    text = np.array([[1.0, 0.0] if agrees else [0.0, 1.0] for _, agrees in rows], np.float32)
    threshold, fraction = choose_threshold(student, text, agreement)

    def disagreement(limit: float) -> float:
        sure = student.max(axis=1).astype(np.float64) >= limit
        return float((sure & (student.argmax(axis=1) != text.argmax(axis=1))).mean())

    # The margin: a threshold that disagrees more often than wanted passes one time in twenty.
    expected = (1 - agreement) * len(rows)
    allowed = int(max(0.0, expected - 1.645 * (expected * agreement) ** 0.5)) / len(rows)
    assert disagreement(threshold) <= allowed + 1e-9
    assert fraction == pytest.approx(float((student.max(axis=1).astype(np.float64) < threshold).mean()))
    lower = [limit for limit in np.unique(student.max(axis=1).astype(np.float64)) if limit < threshold]
    assert all(disagreement(limit) > allowed + 1e-9 for limit in lower[-1:]) or not lower


def test_without_validation_users_everybody_is_read() -> None:
    nothing = np.empty((0, 3), np.float32)
    assert choose_threshold(nothing, nothing, 0.99) == (2.0, 1.0)


def test_a_fitted_cascade_agrees_with_its_language_model(settings: Settings, tmp_path: Path) -> None:
    backbone = load_plugins(settings).make("backbone", "cascade", OPTIONS)
    model = backbone.fit(planted(256), planted(128, seed=1), FitContext(settings, tmp_path))
    test = planted(128, seed=2)
    alone, together = model._text.predict(test), model.predict(test)
    assert (alone.argmax(axis=1) == together.argmax(axis=1)).mean() >= 0.95
    assert model.report["language_model_fraction"] < 1
    model.save(tmp_path / "saved")
    np.testing.assert_allclose(backbone.load(tmp_path / "saved", settings).predict(test), together, atol=1e-5)


def test_the_best_student_weighs_most(settings: Settings, tmp_path: Path) -> None:
    train, validation = planted(256), planted(128, seed=1)
    names = ("linear", "tfidf")
    members = {name: load_plugins(settings).make("backbone", name, {}) for name in names}
    model = fit_pool(members, train, validation, FitContext(settings, tmp_path))
    alone = {name: members[name].fit(train, validation, FitContext(settings, tmp_path)) for name in names}

    def loss(classifier: Classifier) -> float:
        chosen = classifier.predict(validation)[np.arange(len(validation)), validation.targets]
        return float(-np.log(chosen.clip(1e-7)).mean())

    assert loss(model) <= min(map(loss, alone.values())) + 0.01
    weights = model.report["weights"]
    assert max(weights, key=weights.__getitem__) == min(names, key=lambda name: loss(alone[name]))


@pytest.mark.parametrize("options", [{"text": "cascade"}, {"student": "cascade"}])
def test_a_cascade_is_no_part_of_itself(options: dict[str, Any], settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="part of itself"):
        load_plugins(settings).make("backbone", "cascade", OPTIONS | options).check(settings)
