"""Later cut-offs of a label set, labelled by its own definition."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from segadmin.labels import later
from segadmin.labels.labeling import label
from segadmin.labels.later import Cutoffs, label_later_weeks, labels_later_weeks, new_cutoffs
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet
from tests.planted import LABELER, LABELS, START, label_future_spend, more_weeks, plant

WEEK = timedelta(weeks=1)
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def week(number: int) -> datetime:
    """Return the cut-off after so many weeks of the planted shop."""
    return START + number * WEEK


@pytest.fixture
def users(settings: Settings) -> pl.DataFrame:
    users = plant(settings, users=120)
    label_future_spend(settings)
    return users


def label_set_of(settings: Settings, name: str = LABELS) -> LabelSet:
    with transaction(settings) as session:
        return session.get_one(LabelSet, name)


def rows(settings: Settings, name: str = LABELS) -> pl.DataFrame:
    return Lake.of(settings).scan("labels", label_set=name).collect().sort("as_of", "user_key")


def test_later_cutoffs_go_on_at_the_same_distance() -> None:
    cutoffs = Cutoffs((MONDAY, MONDAY + 3 * WEEK, MONDAY + 5 * WEEK), observed=4 * WEEK, outcome=2 * WEEK)
    assert cutoffs.later(MONDAY + 9 * WEEK - timedelta(seconds=1)) == []
    assert cutoffs.later(MONDAY + 9 * WEEK) == [MONDAY + 7 * WEEK]
    assert cutoffs.later(MONDAY + 12 * WEEK) == [MONDAY + 7 * WEEK, MONDAY + 9 * WEEK]
    assert Cutoffs((MONDAY,), WEEK, 2 * WEEK).later(MONDAY + 5 * WEEK) == [MONDAY + 2 * WEEK]
    assert Cutoffs((MONDAY,), WEEK, timedelta()).later(MONDAY + 99 * WEEK) == []


def test_only_labels_that_were_known_at_the_test_may_be_trained_on() -> None:
    moments = tuple(MONDAY + n * WEEK for n in (0, 2, 3, 4))
    cutoffs = Cutoffs(moments, WEEK, 2 * WEEK)
    assert cutoffs.trainable({"test_cuts": [moments[-1].isoformat()]}) == list(moments[:2])


def test_later_weeks_are_labelled_as_the_labeler_would_have(settings: Settings, users: pl.DataFrame) -> None:
    more_weeks(settings, users, range(14, 17))
    added = label_later_weeks(settings, LABELS)
    extended, definition = rows(settings), label_set_of(settings).definition
    assert extended.filter(pl.col("as_of") == week(14)).height == added > 100
    assert definition["test_cuts"] == [week(14).isoformat()]
    assert definition["train_cuts"] == [week(n).isoformat() for n in (4, 6, 8, 10, 12)]
    # The thresholds come from the same weeks, so deriving all of them at once gives the same rows.
    label(settings, "whole", "future-spend", LABELER | {"test_cuts": "10,12,14"})
    whole = rows(settings, "whole").drop("label_set")
    assert extended.drop("label_set").equals(whole)
    assert label_set_of(settings, "whole").definition["thresholds"] == definition["thresholds"]


def test_a_second_call_adds_nothing(settings: Settings, users: pl.DataFrame) -> None:
    assert label_later_weeks(settings, LABELS) == 0
    assert label_set_of(settings).definition["test_cuts"] == [week(n).isoformat() for n in (10, 12)]
    more_weeks(settings, users, range(14, 17))
    label_later_weeks(settings, LABELS)
    before = rows(settings)
    assert label_later_weeks(settings, LABELS) == 0
    assert rows(settings).equals(before)
    assert label_set_of(settings).rows == before.height


def test_a_call_that_was_killed_between_its_commits_is_completed(
    settings: Settings, users: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    more_weeks(settings, users, range(14, 17))

    class Killed(Exception):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(later, "_describe", kill)
        label_later_weeks(settings, LABELS)
    assert label_set_of(settings).definition["test_cuts"] == [week(n).isoformat() for n in (10, 12)]
    assert label_later_weeks(settings, LABELS) == 0
    assert label_set_of(settings).definition["test_cuts"] == [week(14).isoformat()]
    assert label_set_of(settings).rows == rows(settings).height
    assert rows(settings)["as_of"].max() == week(14)


def test_the_options_of_the_labeler_hold_for_later_weeks(settings: Settings, users: pl.DataFrame) -> None:
    options = LABELER | {"by": "title", "categories": 12}
    label(settings, "titles", "future-affinity", options)
    more_weeks(settings, users, range(14, 17))
    assert label_later_weeks(settings, "titles") > 0
    added = rows(settings, "titles").filter(pl.col("as_of") == week(14))
    assert set(added["segment"]) <= set(label_set_of(settings, "titles").segments)
    assert any(segment.startswith("coffee ") for segment in added["segment"])


def test_new_cutoffs_are_those_that_a_model_was_not_trained_on(settings: Settings, users: pl.DataFrame) -> None:
    label_set, trained = label_set_of(settings), [week(n) for n in (4, 6, 8)]
    assert new_cutoffs(settings, label_set, trained) == []
    assert new_cutoffs(settings, label_set, trained[:2]) == [week(8)]
    more_weeks(settings, users, range(14, 17))  # the test is week 14 then, and week 12 is known by that
    assert new_cutoffs(settings, label_set, trained) == [week(10), week(12)]
    assert new_cutoffs(settings, label_set, trained, split="user") == [week(10), week(12), week(14)]
    assert rows(settings)["as_of"].max() == week(12)  # nothing was labelled yet


def test_imported_labels_and_those_of_the_present_are_left_as_they_are(settings: Settings, users: pl.DataFrame) -> None:
    label(settings, "value", "rfm", {})
    assert not labels_later_weeks(settings, label_set_of(settings, "value"))
    with transaction(settings) as session:
        label_set = session.get_one(LabelSet, LABELS)
        label_set.labeler = "table"
        session.add(label_set)
    more_weeks(settings, users, range(14, 17))
    before = rows(settings)
    assert label_later_weeks(settings, LABELS) == 0
    assert label_later_weeks(settings, "value") == 0
    assert rows(settings).equals(before)
    assert new_cutoffs(settings, label_set_of(settings), [week(n) for n in (4, 6, 8)]) == []


def test_rows_without_times_have_no_cutoffs(settings: Settings, users: pl.DataFrame) -> None:
    lake = Lake.of(settings)
    timeless = [pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias(n) for n in ("observed_from", "as_of")]
    lake.replace_partition("labels", rows(settings).with_columns(*timeless), "label_set", LABELS)
    assert new_cutoffs(settings, label_set_of(settings), []) is None
    assert label_later_weeks(settings, LABELS) == 0
