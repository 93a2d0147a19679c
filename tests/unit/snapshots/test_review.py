"""Users are listed for review by uncertainty and value, and the first ones are not all alike."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from segadmin.events.erase import forget
from segadmin.events.keys import show_key
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.read import assignments, find_snapshot
from segadmin.snapshots.review import rank, recent_review, review
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from tests.planted import LABELS

SEGMENTS = ("low", "mid", "high")


def users(*rows: tuple[list[float], float]) -> pl.DataFrame:
    return pl.DataFrame(
        [(n, probabilities, value, n) for n, (probabilities, value) in enumerate(rows)],
        schema={
            "user_key": pl.Int64,
            "probabilities": pl.List(pl.Float32),
            "value": pl.Float64,
            "phrase_hash": pl.Int64,
        },
        orient="row",
    )


def current(settings: Settings) -> SegmentSnapshot:
    with transaction(settings) as session:
        return find_snapshot(session, "current", LABELS)


def test_uncertainty_is_the_entropy_from_0_to_1() -> None:
    ranked = rank(users(([1.0, 0.0, 0.0], 1.0), ([1 / 3, 1 / 3, 1 / 3], 1.0), ([0.5, 0.5, 0.0], 1.0)), SEGMENTS, 3)
    by_user = dict(ranked.select("user_key", "uncertainty").iter_rows())
    assert by_user == {
        0: pytest.approx(0, abs=1e-6),
        1: pytest.approx(1, abs=1e-6),
        2: pytest.approx(0.6309, abs=1e-4),
    }
    assert ranked["user_key"].to_list() == [1, 2, 0]


def test_a_valuable_user_comes_before_an_equally_uncertain_one() -> None:
    ranked = rank(users(([0.6, 0.4, 0.0], 10.0), ([0.0, 0.6, 0.4], 90.0), ([0.9, 0.1, 0.0], 80.0)), SEGMENTS, 9)
    assert ranked["user_key"].to_list()[0] == 1
    first = ranked.row(0, named=True)
    assert (first["segment"], first["second"]) == ("mid", "high")
    assert (first["probability"], first["second_probability"]) == (pytest.approx(0.6), pytest.approx(0.4))
    assert first["priority"] == pytest.approx(first["uncertainty"] * 90)


def test_the_first_users_are_between_different_segments() -> None:
    alike = [([0.5, 0.5, 0.0], 100.0 - n) for n in range(5)]
    ranked = rank(users(*alike, ([0.0, 0.5, 0.5], 60.0), ([0.5, 0.0, 0.5], 45.0)), SEGMENTS, 9)
    assert ranked["user_key"].to_list()[:4] == [0, 5, 1, 6]


def test_of_users_with_the_same_text_only_one_is_listed() -> None:
    same = users(([0.5, 0.5, 0.0], 2.0), ([0.5, 0.5, 0.0], 1.0)).with_columns(phrase_hash=pl.lit(7, pl.Int64))
    assert rank(same, SEGMENTS, 9)["user_key"].to_list() == [0]


def test_value_is_the_spend_of_the_window_before_the_snapshot(shop: Settings) -> None:
    snapshot = current(shop)
    listed = review(shop, snapshot, 240)
    with transaction(shop) as session:
        days = manifest_of(session.get_one(ModelVersion, 1)).recipe.window_days
    inside = pl.col("at").is_between(snapshot.as_of - timedelta(days=days), snapshot.as_of, closed="left")
    events = Lake.of(shop).scan("events").filter(inside, pl.col("kind") == "purchase").collect()
    spend = dict(events.group_by("user_key").agg(pl.col("price").sum()).iter_rows())
    for row in listed.iter_rows(named=True):
        assert row["value"] == pytest.approx(spend.get(row["user_key"], 0.0))
    assert listed.height == assignments(shop, 1).collect()["phrase_hash"].n_unique()
    assert set(review(shop, snapshot, 240, by_value=False)["value"]) == {1.0}


def test_without_amounts_every_user_is_worth_the_same(shop: Settings) -> None:
    lake = Lake.of(shop)
    lake.overwrite("events", lake.scan("events").with_columns(price=pl.lit(None, pl.Float64)).collect())
    listed = review(shop, current(shop), 20)
    assert listed["value"].to_list() == [1.0] * 20
    assert listed["priority"].is_sorted(descending=True)


def test_corrected_users_are_left_out(shop: Settings) -> None:
    first = review(shop, current(shop), 1)["user_key"][0]
    correct(shop, show_key(first), "low", "looked at")
    assert first not in review(shop, current(shop), 240)["user_key"]


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_the_first_users_are_those_of_everybody(shop: Settings, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    everybody = review(shop, current(shop), 240)
    monkeypatch.setattr("segadmin.snapshots.review._AT_ONCE", 1)  # one bucket after the other
    listed = review(shop, current(shop), limit)
    assert_frame_equal(listed, everybody.head(limit))  # sums of prices may differ in their last digit


def test_users_with_the_same_text_hide_nobody() -> None:
    random = np.random.default_rng(3)
    probabilities = random.dirichlet((1, 1, 1), 2_000).astype(np.float32)
    everybody = pl.DataFrame(
        {
            "user_key": random.permutation(2_000),
            "probabilities": pl.Series(probabilities).arr.to_list(),
            "value": random.gamma(2, 20, 2_000),
            "phrase_hash": random.integers(0, 60, 2_000),
        }
    )
    assert rank(everybody, SEGMENTS, 50).equals(rank(everybody, SEGMENTS, 2_000).head(50))


def test_a_list_is_in_memory_until_something_changes(shop: Settings) -> None:
    shown = recent_review(shop, current(shop), 5)
    assert recent_review(shop, current(shop), 5) is shown
    corrected, erased = shown["user_key"].to_list()[:2]
    correct(shop, show_key(corrected), "high", "called")
    assert corrected not in recent_review(shop, current(shop), 5)["user_key"]
    forget(shop, [show_key(erased)])
    after = recent_review(shop, current(shop), 5)
    assert erased not in after["user_key"]
    assert_frame_equal(after, review(shop, current(shop), 5))
