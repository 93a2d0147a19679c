"""The comparison of a canary and its decision, on planted champions and challengers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from segadmin.evaluation.metrics import measure
from segadmin.monitoring.canary import CanaryComparison, Pair, ReadUsers, compare_outcomes, compare_users
from segadmin.monitoring.canary_estimate import estimate_pairs
from segadmin.monitoring.canary_rule import decide
from segadmin.snapshots.segment_order import in_order

SEGMENTS = ("low", "mid", "high")
AS_OF = datetime(2025, 5, 1, tzinfo=UTC)
GOOD, BAD = 3.0, 0.3


def model(truth: np.ndarray[Any, Any], skill: float, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return calibrated probabilities of a model that knows the truth as well as ``skill`` says."""
    random = np.random.default_rng(seed)
    evidence = random.normal(size=(len(truth), 3)) * skill**0.5 + skill * (truth[:, None] == np.arange(3))
    powers = np.exp(evidence)
    probabilities: np.ndarray[Any, np.dtype[np.float64]] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def users(number: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(3, size=number)


def reading(probabilities: np.ndarray[Any, Any]) -> ReadUsers:
    return ReadUsers(pl.Series([SEGMENTS[n] for n in probabilities.argmax(axis=1)], dtype=pl.String), probabilities)


def compared(skills: tuple[float, float], number: int = 600, *, outcomes: bool = False) -> CanaryComparison:
    """Return the comparison of a champion and a challenger with these skills."""
    truth, tested = users(number), users(800, seed=1)
    read = [reading(model(truth, skill, seed)) for seed, skill in enumerate(skills, start=2)]
    comparison = compare_users(AS_OF, number, read[0], read[1], SEGMENTS)
    pairs = [
        ((model(tested, skill, seed), tested, np.arange(len(tested))), each.probabilities)
        for seed, (skill, each) in enumerate(zip(skills, read, strict=True), start=4)
    ]
    estimated = estimate_pairs(pairs[0], pairs[1], resamples=60)
    others = users(4 * number, seed=9)
    groups = (model(others, skills[0], 6), others), (read[1].probabilities, truth)
    measured = compare_outcomes(2, *groups, SEGMENTS) if outcomes else None
    return comparison.model_copy(update={"estimated": estimated, "measured": measured})


def test_an_equal_challenger_is_promoted() -> None:
    comparison = compared((GOOD, GOOD), outcomes=True)
    decision = decide(comparison)
    assert decision.promoted, decision.reason
    assert "it is not shown to be worse: both models agree on" in decision.reason
    assert "the measured AUROC of champion and challenger is 0." in decision.reason


def test_a_better_challenger_is_promoted_and_its_lead_is_found() -> None:
    comparison = compared((BAD, GOOD), outcomes=True)
    assert decide(comparison).promoted
    for pairs in (comparison.estimated, comparison.measured.metrics if comparison.measured else {}):
        assert pairs["auroc"].low is not None
        assert pairs["auroc"].low > 0.05


def test_a_worse_challenger_is_stopped_without_outcomes() -> None:
    decision = decide(compared((GOOD, BAD)))
    assert not decision.promoted
    assert "the estimated AUROC of champion and challenger is" in decision.reason
    assert "which is more than 0.02 lower" in decision.reason


def test_a_challenger_that_outcomes_show_to_be_worse_is_stopped() -> None:
    comparison = compared((GOOD, BAD), outcomes=True).model_copy(update={"estimated": {}})
    decision = decide(comparison)
    assert not decision.promoted
    assert decision.reason.startswith("the measured AUROC of champion and challenger is")


def test_other_shares_of_the_segments_stop_it() -> None:
    everybody_high = ReadUsers(pl.Series(["high"] * 300), np.tile([0.1, 0.1, 0.8], (300, 1)))
    spread = reading(model(users(300), GOOD, 3))
    comparison = compare_users(AS_OF, 300, spread, everybody_high, SEGMENTS)
    assert comparison.stability_index > 0.25
    decision = decide(comparison)
    assert not decision.promoted
    assert "most of all 'high', which has" in decision.reason
    assert "100.0% by the challenger" in decision.reason


def test_few_users_have_no_intervals_and_stop_nothing() -> None:
    comparison = compared((GOOD, BAD), number=30, outcomes=True)
    assert comparison.estimated == {}
    assert comparison.agreement_low is None
    assert all(pair.low is None for pair in comparison.segments.values())
    assert comparison.measured is not None
    assert comparison.measured.metrics["auroc"].low is None
    assert decide(comparison.model_copy(update={"stability_index": 0.0})).promoted


def test_nobody_in_the_canary() -> None:
    nobody = ReadUsers(pl.Series([], dtype=pl.String), np.empty((0, 3)))
    assert decide(compare_users(AS_OF, 0, nobody, nobody, SEGMENTS)).promoted


def test_the_comparison_counts_what_it_says() -> None:
    old = ReadUsers(pl.Series(["low", "low", "mid", None]), np.array([[0.6, 0.3, 0.1]] * 4))
    new = ReadUsers(pl.Series(["low", "mid", "mid", "high"]), np.array([[0.8, 0.1, 0.1]] * 4))
    comparison = compare_users(AS_OF, 9, old, new, SEGMENTS)
    assert (comparison.users, comparison.compared, comparison.agreement) == (9, 4, 0.5)
    shares = {name: (pair.champion, pair.challenger) for name, pair in comparison.segments.items()}
    assert shares == {"low": (0.5, 0.25), "mid": (0.25, 0.5), "high": (0, 0.25), "not enough known": (0.25, 0)}
    assert comparison.confidence is not None
    assert comparison.confidence.difference == pytest.approx(0.2)
    assert CanaryComparison.model_validate(comparison.model_dump(mode="json")) == comparison


@pytest.mark.slow
def test_the_interval_of_the_difference_holds_the_truth() -> None:
    """In shops of the same two models, nine of ten intervals hold the difference at least."""
    hits = 0
    truth = users(40_000, seed=50)
    auroc = [measure(model(truth, skill, seed), truth, SEGMENTS)["auroc"] for skill, seed in ((1.0, 51), (0.7, 52))]
    exact = auroc[1] - auroc[0]
    for shop in range(20):
        first, second = users(900, seed=100 + shop), users(300, seed=200 + shop)
        groups = (model(first, 1.0, 300 + shop), first), (model(second, 0.7, 400 + shop), second)
        pair = compare_outcomes(1, *groups, SEGMENTS).metrics["auroc"]
        assert pair.low is not None
        assert pair.high is not None
        hits += pair.low <= exact <= pair.high
    assert hits >= 17


def test_a_pair_in_words() -> None:
    assert str(Pair(champion=0.7, challenger=0.75, low=0.01, high=0.09)) == (
        "0.7000 and 0.7500: +0.0500 [+0.0100, +0.0900] (95 %)"
    )
    assert str(Pair(champion=0.7, challenger=0.65)) == "0.7000 and 0.6500: -0.0500"


def test_probabilities_are_brought_into_one_order() -> None:
    rows = pl.DataFrame({"model_version_id": [1, 2, 1], "probabilities": [[0.1, 0.2, 0.7], [0.7, 0.1, 0.2], [1, 0, 0]]})
    orders = {1: ["low", "mid", "high"], 2: ["high", "low", "mid"]}
    expected = [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [1, 0, 0]]
    assert rows.select(in_order(orders, SEGMENTS))["probabilities"].to_list() == expected
