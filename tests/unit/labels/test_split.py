from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segadmin.errors import DataError
from segadmin.labels.split import draw, split_rows

START = datetime(2025, 1, 6, tzinfo=UTC)
SEGMENTS = ("low", "high")


def labelled(users: int, cutoffs: int, outcome_days: float = 28, every_days: float = 28, seed: int = 0) -> pl.DataFrame:
    """Label every user at every cut-off."""
    random = np.random.default_rng(seed)
    rows = [
        (int(user), SEGMENTS[int(random.integers(2))], START + timedelta(days=every_days * cutoff))
        for user in random.integers(-(2**62), 2**62, users)
        for cutoff in range(cutoffs)
    ]
    frame = pl.DataFrame(rows, schema=["user_key", "segment", "as_of"], orient="row")
    return frame.with_columns(outcome_until=pl.col("as_of") + timedelta(days=outcome_days))


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_that_is_held_out_can_be_chosen_and_grows_by_the_same_users(share: float) -> None:
    labels = labelled(2000, 1)
    usual, chosen = (split_rows(labels, SEGMENTS, "user", 17, {}, held_out=fraction) for fraction in (0.15, share))
    counts = dict(chosen["part"].value_counts().iter_rows())
    assert {part: round(counts[part] / 2000, 2) for part in ("validation", "test")} == pytest.approx(
        {"validation": share, "test": share}, abs=0.03
    )
    small, large = sorted((usual, chosen), key=lambda split: split.filter(pl.col("part") == "validation").height)
    held_out = [set(split.filter(pl.col("part") == "validation")["user_key"]) for split in (small, large)]
    assert held_out[0] <= held_out[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(60, 120), st.integers(3, 6), st.floats(1, 50), st.integers(0, 2**31))
def test_a_split_by_time_trains_on_outcomes_known_before_the_test(
    users: int, cutoffs: int, outcome_days: float, seed: int
) -> None:
    labels = labelled(users, cutoffs, outcome_days)
    try:
        rows = split_rows(labels, SEGMENTS, "time", seed, {})
    except DataError as error:  # long outcomes leave nothing to learn from: then it must say so
        assert "known only after the first test cut-off" in str(error)
        return
    joined = rows.join(labels, on=["user_key", "as_of"])
    first_test = joined.filter(pl.col("part") == "test")["as_of"].min()
    fitted = joined.filter(pl.col("part").is_in(["train", "validation"]))
    assert fitted["outcome_until"].max() <= first_test
    assert fitted["as_of"].max() < first_test
    assert joined.height == labels.height
    late = joined.filter(pl.col("part") == "purged")
    assert late.is_empty() or late["outcome_until"].min() > first_test


@pytest.mark.parametrize("by", ["time", "user"])
def test_training_and_validation_share_no_user_and_unseen_users_are_not_in_training(by: str) -> None:
    rows = split_rows(labelled(200, 5), SEGMENTS, by, 17, {})
    trained = set(rows.filter(pl.col("part") == "train")["user_key"])
    assert not trained & set(rows.filter(pl.col("part") == "validation")["user_key"])
    assert not trained & set(rows.filter(pl.col("unseen"))["user_key"])
    assert set(rows.filter(~pl.col("unseen"))["user_key"]) <= trained
    if by == "user":
        assert not trained & set(rows.filter(pl.col("part") == "test")["user_key"])


def test_validation_is_every_training_cutoff_of_held_out_users() -> None:
    rows = split_rows(labelled(200, 5), SEGMENTS, "time", 17, {})
    validation = rows.filter(pl.col("part") == "validation")
    assert set(validation["as_of"]) == set(rows.filter(pl.col("part") == "train")["as_of"])
    assert 0.08 < validation["user_key"].n_unique() / 200 < 0.22
    unseen = rows.filter((pl.col("part") == "test") & pl.col("unseen"))
    assert set(unseen["user_key"]) == set(validation["user_key"])


def test_the_last_two_fifths_of_the_cutoffs_test_unless_the_labels_say_which() -> None:
    labels = labelled(200, 5)
    cutoffs = labels["as_of"].unique().sort().to_list()
    default = split_rows(labels, SEGMENTS, "time", 17, {})
    assert default.filter(pl.col("part") == "test")["as_of"].unique().sort().to_list() == cutoffs[3:]
    marked = split_rows(labels, SEGMENTS, "time", 17, {"test_cuts": [cutoffs[4].isoformat()]})
    assert marked.filter(pl.col("part") == "test")["as_of"].unique().sort().to_list() == cutoffs[4:]


def test_the_same_seed_draws_the_same_users_and_another_seed_others() -> None:
    labels = labelled(200, 3)
    first = split_rows(labels, SEGMENTS, "user", 1, {})
    assert first.equals(split_rows(labels.sample(fraction=1, shuffle=True, seed=3), SEGMENTS, "user", 1, {}))
    assert not first.equals(split_rows(labels, SEGMENTS, "user", 2, {}))


def test_draws_are_uniform_and_fixed_for_ever() -> None:
    drawn = draw(np.arange(-5000, 5000), 17)
    assert np.histogram(drawn, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 1000), abs=120)
    assert draw(np.array([1, -1]), 17).tolist() == pytest.approx([0.645334640219506, 0.4083177220351426])


def test_the_target_is_the_segments_place_in_the_label_sets_order() -> None:
    labels = labelled(100, 1)
    rows = split_rows(labels, ("high", "low"), "user", 17, {}).join(labels, on=["user_key", "as_of"])
    assert set(rows.select("segment", "target").unique().iter_rows()) == {("high", 0), ("low", 1)}


def test_one_cutoff_cannot_be_split_by_time_and_the_message_says_what_can() -> None:
    with pytest.raises(DataError, match=r"same cut-off \(2025-01-06\).*--split user"):
        split_rows(labelled(100, 1), SEGMENTS, "time", 17, {})


def test_too_few_rows_are_refused_with_numbers() -> None:
    with pytest.raises(DataError, match=r"8 labelled rows leave \d+ for train, 20 are needed"):
        split_rows(labelled(8, 1), SEGMENTS, "user", 17, {})


def test_a_segment_that_nobody_in_training_has_is_named() -> None:
    with pytest.raises(DataError, match="No training row is in the segment 'rare'"):
        split_rows(labelled(100, 1), (*SEGMENTS, "rare"), "user", 17, {})
