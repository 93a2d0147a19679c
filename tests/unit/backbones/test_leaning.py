"""The regression that leans on what is called the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.settings import Settings
from segadmin_plugins.backbones.linear import Linear
from segadmin_plugins.backbones.numbers import auroc
from segadmin_plugins.backbones.prior_regression import _fit, fit_prior_regression

SEGMENTS = tuple("abcdefgh")
NAMES = tuple(f"said:{n}" for n in range(len(SEGMENTS)))


def rows(n: int, seed: int, noise: float = 1.0) -> Examples:
    """Users of whom somebody says, not quite rightly, in which segment they are."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, len(SEGMENTS), n)
    scores = 2 * np.eye(len(SEGMENTS))[targets] + noise * rng.normal(size=(n, len(SEGMENTS)))
    frame = pl.DataFrame(
        {
            "user_key": np.arange(n),
            "target": targets,
            "phrases": [["-"]] * n,
            "features": pl.Series(scores.astype(np.float32).tolist(), dtype=pl.List(pl.Float32)),
        }
    )
    return Examples(frame, SEGMENTS, NAMES)


def test_few_labels_suffice_where_names_agree(settings: Settings, tmp_path: object) -> None:
    few, validation, test = rows(16, 1), rows(16, 2), rows(2000, 3)
    leaning = fit_prior_regression(few, validation, [NAMES], (100.0, 10.0), 17)
    plain = Linear().fit(few, validation, FitContext(settings, tmp_path))  # type: ignore[arg-type]
    assert auroc(leaning.predict(test), test.targets) > auroc(plain.predict(test), test.targets) + 0.05
    assert leaning.report["leans"][0] > 0


def test_a_misleading_namesake_gets_no_weight() -> None:
    shuffled = (*NAMES[1:], NAMES[0])
    regression = fit_prior_regression(rows(2000, 1), rows(500, 2), [shuffled], (10.0,), 17)
    test = rows(2000, 3)
    assert auroc(regression.predict(test), test.targets) > 0.85


def test_a_segment_without_a_namesake_or_a_row_has_a_probability() -> None:
    some = rows(40, 1)
    without_last = replace(some, frame=some.frame.filter(pl.col("target") < len(SEGMENTS) - 1))
    probabilities = fit_prior_regression(without_last, rows(0, 2), [(*NAMES[:-1], None)], (10.0,), 17).predict(
        rows(5, 3)
    )
    assert probabilities.shape == (5, len(SEGMENTS))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("ridge", [1.0, 100.0])
def test_the_fit_is_a_minimum_of_the_loss(ridge: float) -> None:
    rng = np.random.default_rng(5)
    x, targets, groups = rng.normal(size=(30, 4)), rng.integers(0, 3, 30), np.zeros((1, 3, 4))
    groups[0, [0, 1, 2], [0, 1, 2]] = 1.0
    weights, bias, leans = _fit(x, targets, groups, ridge)

    def loss(weights: np.ndarray, bias: np.ndarray) -> float:
        own = weights - leans[0] * groups[0]
        logits = x @ weights.T + bias
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        penalty = ridge * (own**2).sum() + 0.1 * (bias**2).sum() + 0.5 * (leans**2).sum()
        return float(penalty / 2 - logs[np.arange(30), targets].sum())

    best = loss(weights, bias)
    for _ in range(50):
        assert loss(weights + rng.normal(size=weights.shape) / 100, bias + rng.normal(size=3) / 100) >= best - 1e-3
