"""Labels from the future: thresholds from the past only, outcomes from the future only."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.storage.schema import TIME
from segadmin_plugins.labelers.future_spend import FutureSpend

START = datetime(2026, 1, 5, tzinfo=UTC)
LABELER = FutureSpend(observe_weeks=2, outcome_weeks=1, train_cuts="2,3", test_cuts="5")


def purchases(*bought: tuple[int, float, float]) -> pl.LazyFrame:
    """Return purchases given as (user, week, price)."""
    schema = {"user_key": pl.Int64, "kind": pl.String, "at": TIME, "price": pl.Float64}
    rows = [(user, "purchase", START + timedelta(weeks=week), price) for user, week, price in bought]
    return pl.LazyFrame(rows, schema=schema, orient="row")


def year() -> list[tuple[int, float, float]]:
    return [(user, week + 0.1 * user / 9, 10.0 * user) for user in range(1, 10) for week in range(7)] + [(1, 0, 0.0)]


def test_terciles_of_the_future_spend() -> None:
    labelled = LABELER.label(purchases(*year()))
    assert labelled.segments == ("low", "mid", "high")
    assert labelled.definition["test_cuts"] == [(START + timedelta(weeks=5)).isoformat()]
    first = labelled.rows.filter(pl.col("as_of") == START + timedelta(weeks=2)).sort("user_key")
    assert first["segment"].to_list() == ["low"] * 3 + ["mid"] * 3 + ["high"] * 3
    assert first["observed_from"].unique().to_list() == [START]
    assert first["outcome_until"].unique().to_list() == [START + timedelta(weeks=3)]


def test_the_test_cutoffs_do_not_move_the_thresholds() -> None:
    before = LABELER.label(purchases(*year())).definition["thresholds"]
    rich = [(user, 5.5, 1e6) for user in range(1, 10)]
    assert LABELER.label(purchases(*year(), *rich)).definition["thresholds"] == before


def test_past_spend_does_not_affect_the_label() -> None:
    """Spending before the cut-off changes nobody's label, spending after it does."""
    cut = pl.col("as_of") == START + timedelta(weeks=2)
    plain = LABELER.label(purchases(*year())).rows.filter(cut).sort("user_key")
    earlier = LABELER.label(purchases(*year(), (1, 1.5, 500.0))).rows.filter(cut).sort("user_key")
    assert earlier.equals(plain)
    later = LABELER.label(purchases(*year(), (1, 2.5, 500.0))).rows.filter(cut).sort("user_key")
    assert (plain["segment"][0], later["segment"][0]) == ("low", "high")


def test_users_who_stop_buying_are_low_and_unseen_ones_have_no_label() -> None:
    labelled = LABELER.label(purchases(*year(), (77, 1.5, 9.0), (88, 2.5, 9.0))).rows
    cut = pl.col("as_of") == START + timedelta(weeks=2)
    assert labelled.filter(cut, pl.col("user_key") == 77)["segment"].to_list() == ["low"]
    assert labelled.filter(cut, pl.col("user_key") == 88).is_empty()


def test_outcomes_use_the_old_thresholds_and_wait_for_the_time() -> None:
    events = purchases(*year())
    definition = LABELER.label(events).definition
    outcomes = LABELER.outcomes(events, definition, START + timedelta(weeks=4))
    assert outcomes is not None
    assert dict(outcomes.sort("user_key").iter_rows())[9] == "high"
    assert LABELER.outcomes(events, definition, START + timedelta(weeks=6.5)) is None


@pytest.mark.parametrize(
    ("labeler", "events", "words"),
    [
        (FutureSpend(), purchases(*year()), "the last outcome window ends on .* Choose earlier cut-offs"),
        (LABELER, purchases(), "There are no purchases"),
        (LABELER, purchases(*year()).with_columns(price=pl.lit(None, pl.Float64)), "None of the 18 .* is 'mid'; th"),
        (FutureSpend(train_cuts="two"), purchases(*year()), "'two' is not a list of weeks"),
        (FutureSpend(train_cuts=""), purchases(*year()), "'' is not a list of weeks"),
        (FutureSpend(train_cuts="2,3", test_cuts="3"), purchases(*year()), "Week 3 is in train_cuts and in test_cuts"),
        (FutureSpend(observe_weeks=0), purchases(*year()), "observe_weeks=0 and outcome_weeks=8 must be 1 or more"),
        (FutureSpend(first_week="soon"), purchases(*year()), "first_week='soon' is not a time. Write it as 2026-01-05"),
    ],
)
def test_a_history_that_cannot_carry_the_labels(labeler: FutureSpend, events: pl.LazyFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        labeler.label(events)


@pytest.mark.parametrize("weeks", [4, 7, 17, 60])
def test_the_cut_offs_that_are_suggested_fit(weeks: int) -> None:
    rows = [(user, week + 0.1, 10.0 * user) for user in range(1, 10) for week in range(weeks)]
    events = purchases(*rows, (1, 0, 5.0), (1, weeks, 5.0))
    with pytest.raises(DataError, match="Choose earlier cut-offs") as refused:
        FutureSpend(test_cuts="99").label(events)
    options = dict(re.findall(r"-o (\w+)=(\S+)", str(refused.value)))
    numbers = {name: int(options[name]) for name in ("observe_weeks", "outcome_weeks")}
    labelled = FutureSpend(**numbers, train_cuts=options["train_cuts"], test_cuts=options["test_cuts"]).label(events)
    assert set(labelled.segments) == {"low", "mid", "high"}


@pytest.mark.parametrize(("last", "over"), [(5.8, False), (5.9, True)])
def test_an_outcome_window_must_be_over(last: float, over: bool) -> None:
    """It ends with week 6; half a day without an event is no reason to doubt that, two days are."""
    early = [purchase for purchase in year() if purchase[1] < 5]
    events = purchases(*early, (1, last, 1.0))
    if over:
        assert LABELER.label(events).rows["as_of"].max() == START + timedelta(weeks=5)
        return
    with pytest.raises(DataError, match="the last outcome window ends on 2026-02-16"):
        LABELER.label(events)


def test_nothing_after_the_outcome_window_counts() -> None:
    plain = LABELER.label(purchases(*year()))
    later = LABELER.label(purchases(*year(), *((user, 6.01 + user, 1e6) for user in range(1, 10))))
    assert later.definition == plain.definition
    assert later.rows.sort("as_of", "user_key").equals(plain.rows.sort("as_of", "user_key"))


def test_thresholds_are_the_terciles_of_the_training_spend() -> None:
    spend = {1: 0.0, 2: 10.0, 3: 20.0, 4: 30.0}
    labeler = FutureSpend(observe_weeks=1, outcome_weeks=1, train_cuts="1", test_cuts="2", first_week="2026-01-05")
    events = purchases(*((user, 0.5, 1.0) for user in spend), *((user, 1.5, price) for user, price in spend.items()))
    labelled = labeler.label(pl.concat([events, purchases((9, 3, 1.0))]))
    assert labelled.definition["thresholds"] == [10.0, 20.0]
    train = labelled.rows.filter(pl.col("as_of") == START + timedelta(weeks=1)).sort("user_key")
    assert train["segment"].to_list() == ["low", "low", "mid", "high"]


@pytest.mark.parametrize("first_week", ["2026-01-05", "2026-01-05T08:00:00+08:00", "2026-01-05T00:00:00Z"])
def test_the_first_week_may_have_a_zone(first_week: str) -> None:
    labelled = replace(LABELER, first_week=first_week).label(purchases(*year()))
    assert labelled.definition["test_cuts"] == [(START + timedelta(weeks=5)).isoformat()]
