from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import erf

import numpy as np
import polars as pl
import pytest

from segadmin.evaluation.bootstrap import Interval
from segadmin.evaluation.membership import MembershipAttack, attack_auc, matched_rows
from segadmin.evaluation.metrics import losses

START = datetime(2025, 1, 6, tzinfo=UTC)


def attacked(shift: float, users: int = 2_000, rows: int = 1) -> Interval:
    """Attack planted losses: normal, those of training rows lower by ``shift``; every user has ``rows`` equal rows."""
    random = np.random.default_rng(0)
    trained, held_out = random.normal(-shift, 1, users), random.normal(0, 1, users)
    keys = np.arange(2 * users)
    return attack_auc(*(np.repeat(values, rows) for values in (trained, held_out, keys[:users], keys[users:])))


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_the_auc_of_planted_losses_is_the_known_one(shift: float) -> None:
    interval = attacked(shift)
    expected = 0.5 + erf(shift / 2) / 2  # of normal losses: Φ(shift / √2)
    assert interval.value == pytest.approx(expected, abs=0.02)
    assert interval.low is not None and interval.high is not None
    assert interval.low < expected < interval.high
    assert interval.high - interval.low < 0.05


def test_equal_losses_are_chance_and_repeated_rows_add_no_confidence() -> None:
    same = np.zeros(100)
    assert attack_auc(same, same, np.arange(100), np.arange(100, 200)).value == 0.5
    once, thrice = attacked(0.5, users=200), attacked(0.5, users=200, rows=3)
    assert (thrice.value, thrice.low) == pytest.approx((once.value, once.low))


def test_few_users_have_no_interval_and_cause_no_warning() -> None:
    few = attacked(3.0, users=49, rows=20)
    assert few.value > 0.9 and few.low is None
    assert not MembershipAttack(few, 980, 980, "test").is_high
    assert MembershipAttack(attacked(3.0, users=50), 50, 50, "test").is_high


@pytest.mark.parametrize(("value", "low", "is_high"), [(0.54, 0.51, True), (0.53, 0.52, False), (0.56, 0.5, False)])
def test_a_high_auc_is_above_the_limit_and_shown_to_be_above_chance(value: float, low: float, is_high: bool) -> None:
    assert MembershipAttack(Interval(value, low, 0.6), 100, 100, "test").is_high is is_high


def test_a_loss_is_that_of_the_true_segment_and_finite() -> None:
    probabilities = np.array([[0.25, 0.75], [1.0, 0.0]])
    assert losses(probabilities, np.array([1, 1])) == pytest.approx([-np.log(0.75), -np.log(1e-7)])


def rows_by_week(counts: dict[int, int], first_key: int) -> pl.DataFrame:
    weeks = [week for week, rows in counts.items() for _ in range(rows)]
    return pl.DataFrame({"user_key": range(first_key, first_key + len(weeks))}).with_columns(
        as_of=pl.Series([START + timedelta(weeks=week, hours=7 * n % 168) for n, week in enumerate(weeks)])
    )


def test_both_sides_have_as_many_rows_of_every_week() -> None:
    trained, held_out = rows_by_week({0: 500, 1: 30, 3: 9}, 0), rows_by_week({3: 40, 0: 100, 2: 50}, 10_000)
    pairs = trained, held_out
    chosen = [
        frame[rows]["as_of"].dt.truncate("1w") for frame, rows in zip(pairs, matched_rows(*pairs, 17), strict=True)
    ]
    assert chosen[0].sort().to_list() == chosen[1].sort().to_list()
    assert [len(week) for week in chosen] == [109, 109]
    fewer = matched_rows(*pairs, 17, rows=50)
    assert all(45 <= len(rows) <= 50 for rows in fewer)
    assert all(set(few) < set(many) for few, many in zip(fewer, matched_rows(*pairs, 17), strict=True))
    assert not np.array_equal(fewer[0], matched_rows(*pairs, 18, rows=50)[0])


def test_sides_without_a_common_week_have_no_rows() -> None:
    first, second = matched_rows(rows_by_week({0: 5}, 0), rows_by_week({1: 5}, 9), 17)
    assert len(first) == len(second) == 0
