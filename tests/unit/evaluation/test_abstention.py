from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.backbone import Examples
from segadmin.evaluation.abstention import (
    HISTORIES,
    apply_policy,
    assigned_mask,
    events_of,
    history_lengths,
    learn_policy,
    learn_thresholds,
    selective_metrics,
)
from segadmin.evaluation.policy import Policy
from segadmin.testing.backbones import planted


def with_events(events: list[int], targets: list[int]) -> Examples:
    names = ("view_events", "purchase_events")
    rows = planted(len(events))
    frame = rows.frame.with_columns(
        features=pl.Series([[0.0, float(count)] for count in events], dtype=pl.List(pl.Float32)),
        target=pl.Series(targets, dtype=pl.Int64),
    )
    return replace(rows, frame=frame, feature_names=names)


def test_history_lengths_by_hand() -> None:
    assert history_lengths(np.asarray([0, 1, 5, 6, 500, 501])).tolist() == [0, 1, 1, 2, 6, 7]
    assert events_of(with_events([3, 0], [0, 0])).tolist() == [3, 0]
    assert events_of(planted(2)).tolist() == [0, 0]  # no feature tells


def test_the_prior_answers_where_it_was_more_accurate() -> None:
    """Of short histories the model is wrong and sure, of long ones right; too few in between do as the longer."""
    events = [3] * 40 + [10] * 5 + [30] * 40
    targets = [0] * 85
    probabilities = np.asarray([[0.05, 0.05, 0.9]] * 40 + [[0.9, 0.05, 0.05]] * 45)
    policy = learn_policy(probabilities, with_events(events, targets), np.asarray([0, 0, 1, 2]))
    assert policy.answers == ("prior", "prior", "model", "model", "model", "model", "model", "model")
    assert len(policy.answers) == len(HISTORIES) + 1
    assert policy.prior == pytest.approx([3 / 7, 2 / 7, 2 / 7], abs=1e-5)
    given = apply_policy(probabilities, with_events(events, targets), policy)
    assert given[0] == pytest.approx([3 / 7, 2 / 7, 2 / 7], abs=1e-5)
    assert given[-1].tolist() == [0.9, 0.05, 0.05]
    assert apply_policy(probabilities, with_events(events, targets), Policy()) is probabilities
    assert apply_policy(probabilities[:0], with_events([], []), policy).shape == (0, 3)


def test_thresholds_by_hand() -> None:
    """Twelve rows said to be 0, the surest first: ten right, then two wrong; of 1 none is ever right."""
    sure = np.linspace(0.95, 0.6, 12)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    targets = np.asarray([0] * 10 + [1] * 2)
    never = np.tile([0.1, 0.9], (12, 1))
    both, truth = np.concatenate([probabilities, never]), np.concatenate([targets, np.zeros(12, np.int64)])
    least = learn_thresholds(both, truth, 0.6)
    assert least == [pytest.approx(sure[10]), None]  # ten of eleven: .623 at the least
    assert learn_thresholds(both, truth, 0.55)[0] == pytest.approx(sure[11])
    assert learn_thresholds(probabilities[:5], targets[:5], 0.5) == [None, None]  # too few to show anything
    assigned = assigned_mask(both, np.asarray([1] * 23 + [0]), least)
    assert assigned.tolist() == [True] * 11 + [False] * 13
    assert assigned_mask(both, np.zeros(24, np.int64), []).all()


def test_rows_of_equal_confidence_are_thresholded_together() -> None:
    probabilities = np.tile([0.7, 0.3], (20, 1))
    assert learn_thresholds(probabilities, np.asarray([0] * 10 + [1] * 10), 0.6) == [None, None]
    assert learn_thresholds(probabilities, np.asarray([0] * 10 + [1] * 10), 0.29) == [pytest.approx(0.7), None]


def test_users_without_events_stay_unassigned_and_are_counted() -> None:
    probabilities = np.asarray([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.4, 0.3, 0.3]])
    metrics = selective_metrics(probabilities, with_events([5, 0, 5], [0, 0, 0]), [0.5, 0.5, None])
    assert metrics == {"coverage": pytest.approx(1 / 3), "precision_placed": 1.0}
