"""Margins are chosen on validation for no loss of quality."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from segadmin.evaluation.hysteresis import learn_margins


def probabilities_of(first: np.ndarray, leads: np.ndarray, segments: int = 2) -> np.ndarray:
    """Return probabilities by which ``first`` leads the next segment by ``leads``."""
    rows = np.zeros((len(first), segments))
    rows[np.arange(len(first)), first] = (1 + leads) / 2
    rows[np.arange(len(first)), (first + 1) % segments] = (1 - leads) / 2
    return rows


def test_a_segment_whose_narrow_leads_are_wrong_gets_a_margin_and_the_other_none() -> None:
    random = np.random.default_rng(0)
    first, leads = random.integers(0, 2, 4000), random.uniform(0, 1, 4000)
    wrong = (first == 1) & (leads < 0.3)  # to be put in segment 1 by less is always wrong, in segment 0 never
    targets = np.where(wrong, 0, first)
    chosen = learn_margins(probabilities_of(first, leads), targets)
    assert chosen.margins[0] <= 0.02
    assert chosen.margins[1] >= 0.28
    assert chosen.macro_f1_held > chosen.macro_f1
    assert chosen.rows == 4000


def test_where_the_model_is_right_nobody_is_held_back() -> None:
    random = np.random.default_rng(1)
    first = random.integers(0, 3, 500)
    chosen = learn_margins(probabilities_of(first, random.uniform(0, 0.01, 500), 3), first)
    assert chosen.margins == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_quality_is_never_lower_than_without(seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(4), 300)
    targets = np.array([random.choice(4, p=row) for row in probabilities])
    chosen = learn_margins(probabilities, targets)
    assert chosen.macro_f1 == pytest.approx(f1_score(targets, probabilities.argmax(axis=1), average="macro"))
    assert chosen.macro_f1_held >= chosen.macro_f1


def test_without_validation_rows_there_are_no_margins() -> None:
    assert learn_margins(np.empty((0, 3)), np.empty(0, np.int64)).margins == (0.0, 0.0, 0.0)
