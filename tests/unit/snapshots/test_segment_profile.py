"""Profiles of segments: the planted truth, and intervals that hold it as often as they say."""

from __future__ import annotations

import itertools
import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from sqlmodel import col, update

from segadmin.jobs.control import view
from segadmin.models.registry import promote_version, roll_back_champion
from segadmin.settings import Settings
from segadmin.snapshots.corrections import correct
from segadmin.snapshots.profile_estimates import with_intervals
from segadmin.snapshots.profile_sums import HOUR, NAME, sum_up
from segadmin.snapshots.profiles import find_profiles
from segadmin.snapshots.read import find_snapshot, segments_of, summaries
from segadmin.snapshots.segment_profile import SegmentProfile
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot, Step, StepState
from segadmin.storage.schema import time_literal
from segadmin.text.recipe import Window
from tests.planted import LABELS, Run, more_weeks, nothing_runs, planted_users, through_the_engine


def profiles(settings: Settings) -> dict[str, SegmentProfile]:
    with reading(settings) as session:
        return find_profiles(session, find_snapshot(session, "current", LABELS))


def test_a_profile_is_what_the_events_add_up_to(shop: Settings) -> None:
    found = profiles(shop)
    high = found["high"]
    inside = (pl.col("at") >= time_literal(high.observed_from)) & (pl.col("at") < time_literal(high.as_of))
    events = Lake.of(shop).scan("events").filter(inside, pl.col("kind") == "purchase").collect()
    members = segments_of(shop, 1).filter(segment="high")
    own = events.join(members, on="user_key", how="semi")
    assert (high.users, high.buyers) == (members.height, own["user_key"].n_unique())
    assert high.spend is not None and high.revenue is not None
    assert high.spend.value == pytest.approx(own["price"].sum() / members.height)
    assert high.revenue.value == pytest.approx(own["price"].sum() / events["price"].sum())
    assert high.purchases.value == pytest.approx(own.height / members.height)
    games = next(each for each in high.categories if each.name == "games")
    share = own.filter(pl.col("item").str.starts_with("games")).height / own.height
    overall = events.filter(pl.col("item").str.starts_with("games")).height / events.height
    assert (games.share, games.overall) == (pytest.approx(share), pytest.approx(overall))
    assert games.lift.value == pytest.approx(share / overall)
    assert sum(each.share for each in high.hours) == pytest.approx(1)
    assert sum(each.revenue.value for each in found.values() if each.revenue) == pytest.approx(1)


def test_what_was_planted_stands_out(shop: Settings) -> None:
    found = profiles(shop)
    assert [each.name for each in found["high"].distinctive("categories")] == ["games"]
    assert {each.name[:5] for each in found["high"].distinctive("items")} == {"games"}
    assert found["high"].distinctive("items")[0].title.startswith("games ")
    assert "games" not in [each.name for each in found["low"].distinctive("categories")]
    assert found["high"].brands == ()
    spend = [found[segment].spend for segment in ("low", "mid", "high")]
    bounds = [(each.low or 0.0, each.high or 0.0) for each in spend if each is not None]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(bounds)), "apart from each other"


def test_profiles_hold_until_the_next_day(shop: Settings) -> None:
    with reading(shop) as session:
        first = find_profiles(session, session.get_one(SegmentSnapshot, 1))
    Run(shop, "refresh", {"force": True}).all()
    assert profiles(shop) == first, "the events' time did not go on"
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"force": True}).all()
    assert profiles(shop)["high"].as_of > first["high"].as_of
    with reading(shop) as session:
        assert find_profiles(session, session.get_one(SegmentSnapshot, 1)) == first


def test_profiles_after_a_rollback_are_by_the_same_model(shop: Settings) -> None:
    first = profiles(shop)
    with transaction(shop) as session:
        session.add(ModelVersion(**session.get_one(ModelVersion, 1).model_dump(exclude={"id"})))
    promote_version(shop, "2")
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"labels": LABELS}).all()
    assert profiles(shop) != first
    nothing_runs(shop)
    roll_back_champion(shop)
    assert correct(shop, "user-1", "high", "a call").snapshot_id == 3
    assert profiles(shop) == first


def test_profiles_do_not_delay_the_snapshot(shop: Settings) -> None:
    """Until they are computed, those of the snapshot before hold; one that was published meanwhile gets them too."""
    before = profiles(shop)
    more_weeks(shop, planted_users(shop), range(14, 15))
    first = Run(shop, "refresh", {"force": True}).until("segment_profiles")
    assert profiles(shop) == before
    with reading(shop) as session:
        taken_over = [row.distinctive for row in summaries(session, 2)]
        assert taken_over == [row.distinctive for row in summaries(session, 1)]
    more_weeks(shop, planted_users(shop).head(5), range(15, 16))
    second = Run(shop, "refresh", {"time": "on-event", "force": True}).until("segment_profiles")
    first.all()
    assert profiles(shop)["high"].as_of > before["high"].as_of
    with reading(shop) as session:
        assert find_profiles(session, session.get_one(SegmentSnapshot, 2)) == profiles(shop)
        rows = [[row.distinctive for row in summaries(session, number)] for number in (2, 3)]
    assert rows[0] == rows[1]
    assert rows[0] != taken_over
    assert second.inputs["publish"][0]["snapshot_id"] == 3


DAILY = {"monitor", "segment_profiles"}


def after(settings: Settings, time: timedelta) -> set[StepState]:
    """Let a user do something after this time, and refresh; return the states of what follows the snapshot."""
    lake = Lake.of(settings)
    newest = lake.latest_event
    assert newest is not None
    event = lake.scan("events").head(1).collect()
    lake.append("events", event.with_columns(at=pl.lit(newest + time), event_id=pl.lit(newest.microsecond + 1)))
    job = through_the_engine(settings, "refresh", {"labels": LABELS, "time": "on-event", "force": True})
    return {step.state for step in view(settings, job).steps if step.stage in DAILY}


def test_what_follows_a_snapshot_follows_once_a_day(shop: Settings) -> None:
    assert after(shop, timedelta(days=1)) == {StepState.SUCCEEDED}
    assert after(shop, timedelta(seconds=1)) == {StepState.SKIPPED}
    assert after(shop, timedelta(days=1)) == {StepState.SUCCEEDED}
    with transaction(shop) as session:
        session.exec(update(Step).where(col(Step.stage).in_(DAILY)).values(state=StepState.FAILED))
    assert after(shop, timedelta(seconds=1)) == {StepState.SUCCEEDED}, "what failed follows the next one"


def test_users_are_counted_by_their_probability(shop: Settings) -> None:
    with reading(shop) as session:
        rows = summaries(session, 1)
    assert [sum(row.probabilities) for row in rows] == [row.users for row in rows]
    assert all(len(row.probabilities) == 10 and not any(row.probabilities[:3]) for row in rows), "of three segments"


def test_sums_do_not_depend_on_how_many_users_are_read_at_a_time(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.of(shop)
    users = segments_of(shop, 1).join(planted_users(shop).select("user_key", "bucket"), on="user_key")
    high = profiles(shop)["high"]
    window = Window(observed_from=high.observed_from, as_of=high.as_of)
    at_once = sum_up(lake, users, window)
    monkeypatch.setattr("segadmin.snapshots.profile_sums._USERS_AT_A_TIME", 1)
    by_bucket = sum_up(lake, users, window)
    order = ["segment", NAME]
    for kind in at_once.counts:
        assert at_once.counts[kind].sort(order).equals(by_bucket.counts[kind].sort(order))
    assert at_once.totals[HOUR].sort("segment").equals(by_bucket.totals[HOUR].sort("segment"))


def _shop(random: np.random.Generator, users: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sums of one name and the totals, of users whose tastes and numbers of events differ much."""
    segment = np.where(random.random(users) < 0.3, "s", "rest")
    t = 1 + random.negative_binomial(1, 0.1, users)
    taste = random.beta(2.0, 3.0, users) * np.where(segment == "s", 0.6, 0.3)
    frame = pl.DataFrame({"segment": segment, "t": t.astype(float), "x": random.binomial(t, taste).astype(float)})
    x, t_ = pl.col("x"), pl.col("t")
    counts = frame.group_by("segment").agg(
        pl.lit("milk").alias(NAME), users=(x > 0).sum(), x=x.sum(), xx=(x**2).sum(), xt=(x * t_).sum()
    )
    return counts, frame.group_by("segment").agg(t=t_.sum(), tt=(t_**2).sum())


def test_intervals_hold_the_truth_nineteen_times_of_twenty() -> None:
    """Also where the events of a user are alike: an interval over events would be far too narrow."""
    truth = 0.6 / (0.3 * 0.6 + 0.7 * 0.3)
    random, held, runs = np.random.default_rng(5), 0, 600
    for _ in range(runs):
        row = with_intervals(*_shop(random, 400)).filter(segment="s").row(0, named=True)
        held += row["low"] <= truth <= row["high"]
    spread = math.sqrt(0.95 * 0.05 / runs)
    assert abs(held / runs - 0.95) < 4 * spread


def test_few_users_have_no_interval() -> None:
    counts, totals = _shop(np.random.default_rng(5), 400)
    few = with_intervals(counts.with_columns(users=pl.lit(9)), totals)
    assert few["low"].null_count() == few["high"].null_count() == 2
