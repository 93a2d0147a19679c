"""The freshness of a snapshot: by the times of the events that it adds, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select, update

from segadmin.events.erase import forget
from segadmin.settings import Settings
from segadmin.snapshots.freshness import LATENESS, Freshness, arrived_since, oldest_since, watermark_of
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, SegmentSnapshot
from segadmin.storage.schema import TIME
from tests.planted import Run, more_weeks, planted_users

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def of(*seconds: float, watermark: float | None = None) -> Freshness:
    """Return the freshness of events that happened so many seconds before noon, when they were published."""
    times = pl.Series("at", [NOON - timedelta(seconds=each) for each in seconds], TIME)
    return Freshness.of(times, None if watermark is None else NOON - timedelta(seconds=watermark), NOON)


def newest(settings: Settings) -> SegmentSnapshot:
    with reading(settings) as session:
        return session.exec(select(SegmentSnapshot).order_by(SegmentSnapshot.id.desc())).first()  # type: ignore[union-attr, return-value]


def test_seconds_from_event_to_publication() -> None:
    assert of(*range(1, 101)) == Freshness(events=100, p50=51.0, p95=96.0, max=100.0, late=0, ahead=0)


def test_a_backfill_is_counted_apart() -> None:
    month = 30 * 86_400.0
    assert of(1, 2, 3, *[month] * 1000, watermark=10) == Freshness(3, 2.0, 3.0, 3.0, late=1000, ahead=0)


def test_an_event_that_waited_for_hours_because_nothing_was_published_is_not_late() -> None:
    assert of(5, 7200, watermark=7210) == Freshness(2, 7200.0, 7200.0, 7200.0, late=0, ahead=0)


def test_freshness_is_never_negative() -> None:
    """A clock was set back, or that of a shop is ahead."""
    assert of(-30, 2, watermark=10) == Freshness(1, 2.0, 2.0, 2.0, late=0, ahead=1)
    assert of(-30, -20) == Freshness(0, None, None, None, late=0, ahead=2)


@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.none() | st.floats(-1e6, 1e6))
def test_every_event_is_counted_once(seconds: list[float], watermark: float | None) -> None:
    freshness = of(*seconds, watermark=watermark)
    assert freshness.events + freshness.late + freshness.ahead == len(seconds)
    figures = [freshness.p50, freshness.p95, freshness.max]
    if freshness.events:
        assert all(value is not None for value in figures)
        assert 0 <= freshness.p50 <= freshness.p95 <= freshness.max  # type: ignore[operator]
    else:
        assert figures == [None] * 3


def test_an_event_from_the_future_does_not_make_all_others_late() -> None:
    snapshot = SegmentSnapshot(
        label_set="spend3", model_version_id=1, job_id=1, as_of=NOON,
        newest_event=NOON + timedelta(hours=20), published_at=NOON,
    )  # fmt: skip
    assert watermark_of(snapshot) == NOON


def test_a_snapshot_states_the_events_that_it_adds(shop: Settings) -> None:
    before = Lake.of(shop).scan("events").select(pl.len()).collect().item()
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {}).published()
    after = Lake.of(shop).scan("events")
    snapshot = newest(shop)
    assert snapshot.freshness["events"] + snapshot.freshness["late"] == after.select(pl.len()).collect().item() - before
    assert snapshot.freshness["late"] == 0
    assert snapshot.newest_event == after.select(pl.col("at").max()).collect().item()
    assert snapshot.published_at is not None
    oldest = after.sort("at").tail(snapshot.freshness["events"]).select("at").head(1).collect().item()
    assert snapshot.freshness["max"] == pytest.approx((snapshot.published_at - oldest).total_seconds(), abs=0.01)


def test_a_compaction_and_an_erasure_bring_no_events(shop: Settings) -> None:
    first = newest(shop)
    lake = Lake.of(shop)
    more_weeks(shop, planted_users(shop).head(3), range(14, 15))
    arrived = arrived_since(lake, first)
    assert arrived is not None
    lake.compact("events")
    again = arrived_since(lake, first)
    assert again is not None
    assert sorted(again.times) == sorted(arrived.times)
    with transaction(shop) as session:  # the job that trained the shop was run without the engine
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    forget(shop, [planted_users(shop)["user"][5]])
    assert arrived_since(lake, first) is None  # the erasure has shortened the log; nothing is claimed
    Run(shop, "refresh", {}).published()
    assert newest(shop).freshness == {}


def test_the_oldest_event_that_waits(shop: Settings) -> None:
    first, lake = newest(shop), Lake.of(shop)
    assert oldest_since(lake, first) is None
    mark = watermark_of(first)
    assert mark is not None
    row = lake.scan("events").head(1).collect()
    times = [mark - timedelta(days=3), mark - LATENESS / 2, mark + timedelta(seconds=5)]
    for n, at in enumerate(times):
        lake.append("events", row.with_columns(at=pl.lit(at).cast(TIME), event_id=pl.lit(n, pl.Int64)))
    assert oldest_since(lake, first) == times[1]
