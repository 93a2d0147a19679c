from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.monitoring.volume import ALL_KINDS, DailyEvents, Volume, check_volumes

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
DAYS = 70
LAST = (START + timedelta(days=DAYS - 1)).date()
#: More at the weekend.
WEEK = np.array([300, 280, 290, 300, 400, 700, 600])


def _events(
    seed: int = 0, missing: dict[int, float] | None = None, days: int = DAYS, noise: float = 0.05, scale: float = 1.0
) -> pl.LazyFrame:
    """Return purchases, with three times as many views; ``missing`` is the share of a day's purchases that is lost."""
    random = np.random.default_rng(seed)
    frames = []
    for kind, factor in (("purchase", 1.0), ("view", 3.0)):
        for day in range(days):
            rate = WEEK[day % 7] * factor * scale * random.lognormal(0.0, noise)
            lost = (missing or {}).get(day, 0.0) if kind == "purchase" else 0.0
            seconds = random.integers(86_400, size=random.poisson(rate * (1 - lost)))
            at = pl.lit(START + timedelta(days=day)) + pl.duration(seconds=pl.Series("at", seconds))
            frames.append(pl.select(at=at.cast(pl.Datetime("us", "UTC")), kind=pl.lit(kind)))
    return pl.concat(frames).lazy()


def _volumes(events: pl.LazyFrame, **options: Any) -> list[Volume]:
    newest = events.select(pl.col("at").max()).collect().item()
    return DailyEvents.of(events, newest).volumes(**options)


def test_a_half_missing_day_is_found_and_named() -> None:
    volumes = _volumes(_events(missing={DAYS - 3: 0.5}))
    (missing,) = (volume for volume in volumes if volume.missing)
    assert (missing.day, missing.kind) == (LAST - timedelta(days=2), "purchase")
    assert missing.expected == pytest.approx(WEEK[(DAYS - 3) % 7], rel=0.1)
    assert missing.events == pytest.approx(missing.expected / 2, rel=0.2)
    message = rf"{missing.day} has {missing.events} of {missing.expected:.0f} expected events \(purchase\)"
    with pytest.raises(DataError, match=message + r", .*\. Import what is missing, .*: --force"):
        check_volumes(volumes)


def test_a_day_without_any_event_is_missing() -> None:
    missing = [volume for volume in _volumes(_events(missing={DAYS - 2: 1.0})) if volume.missing]
    assert [(volume.events, volume.kind) for volume in missing] == [(0, "purchase")]


def test_weekends_and_weekdays_are_no_alarm() -> None:
    alarms = sum(volume.missing for seed in range(20) for volume in _volumes(_events(seed, noise=0.1)))
    assert alarms == 0


def test_a_shop_with_wild_days_must_lose_more() -> None:
    found = [
        sum(any(each.missing for each in _volumes(_events(seed, {DAYS - 3: 0.5}, noise=noise))) for seed in range(8))
        for noise in (0.02, 0.5)
    ]
    assert found[0] == 8
    assert found[1] <= 2


def test_the_last_day_is_compared_up_to_the_time_of_its_last_event() -> None:
    noon = START + timedelta(days=DAYS - 1, hours=12)
    until_noon = _events().filter(pl.col("at") <= noon)
    last = [volume for volume in _volumes(until_noon) if volume.day == LAST]
    assert [volume.missing for volume in last] == [False, False, False]
    assert last[0].expected == pytest.approx(WEEK[(DAYS - 1) % 7] / 2, rel=0.15)
    half = _events(missing={DAYS - 1: 0.55}).filter(pl.col("at") <= noon)
    assert [volume.kind for volume in _volumes(half) if volume.missing] == ["purchase"]


def test_the_first_hours_of_a_day_say_nothing() -> None:
    morning = START + timedelta(days=DAYS - 1, hours=6)
    quiet = pl.col("at") >= morning - timedelta(hours=6)
    few = _events().filter(pl.col("at") < morning, quiet.not_() | (pl.col("at").dt.minute() < 15))
    (last,) = (volume for volume in _volumes(few) if volume.day == LAST and volume.kind == "view")
    assert last.expected is None
    assert not any(volume.missing for volume in _volumes(few))


def test_days_that_the_last_snapshot_had_are_not_checked_again() -> None:
    events = _events(missing={DAYS - 3: 0.5})
    assert any(volume.missing for volume in _volumes(events, since=LAST - timedelta(days=2)))
    later = _volumes(events, since=LAST - timedelta(days=1))
    assert {volume.day for volume in later} == {LAST - timedelta(days=1), LAST}
    check_volumes(later)


def test_a_new_shop_and_a_small_one_have_no_alarm() -> None:
    young = _volumes(_events(days=10, missing={8: 0.9}))
    assert {volume.expected for volume in young} == {None}
    small = _volumes(_events(scale=0.1, missing={DAYS - 3: 1.0}))
    assert not any(volume.missing for volume in small)


def test_a_rare_kind_that_ends_is_found_by_the_week() -> None:
    """Some 40 purchases a day: no single day can be judged."""
    ended = _events(scale=0.1, missing=dict.fromkeys(range(DAYS - 4, DAYS), 1.0))
    (missing,) = (volume for volume in _volumes(ended) if volume.missing and volume.kind != ALL_KINDS)
    assert (missing.day, missing.days, missing.kind) == (LAST, 7, "purchase")
    assert missing.expected == pytest.approx(WEEK.sum() / 10, rel=0.1)
    check_volumes([missing])  # is only reported


def test_a_week_is_no_alarm_after_the_cause_was_fixed() -> None:
    """The snapshot before went on without the missing days; since then all events are there."""
    fixed = _events(scale=0.1, missing=dict.fromkeys(range(DAYS - 6, DAYS - 2), 1.0))
    assert any(volume.missing for volume in _volumes(fixed, since=LAST - timedelta(days=4)))
    assert not any(volume.missing for volume in _volumes(fixed, since=LAST - timedelta(days=1)))


def test_what_is_too_rare_for_a_week_is_named_as_such() -> None:
    volumes = _volumes(_events(scale=0.02, missing=dict.fromkeys(range(DAYS - 4, DAYS), 1.0)))
    weeks = {volume.kind: volume for volume in volumes if volume.days == 7}
    assert {kind: week.too_few for kind, week in weeks.items()} == {"purchase": True, "view": False, ALL_KINDS: False}
    assert not any(volume.missing for volume in volumes)


def test_a_kind_of_which_most_days_have_none_is_named_as_too_rare() -> None:
    once_a_week = _events().with_columns(
        kind=pl.when(pl.int_range(pl.len()) % 5_000 == 0).then(pl.lit("return")).otherwise("kind")
    )
    weeks = {volume.kind: volume for volume in _volumes(once_a_week) if volume.days == 7}
    assert {kind: week.too_few for kind, week in weeks.items()} == {"return": True}


def test_a_shop_that_is_closed_on_sundays_has_no_alarm() -> None:
    for scale, weeks in ((1.0, False), (0.1, True)):
        events = _events(scale=scale).filter(pl.col("at").dt.weekday() != 7)
        monday = _events(days=DAYS + 1, scale=scale).filter(pl.col("at").dt.weekday() != 7)
        for shop in (events, monday):
            volumes = _volumes(shop)
            assert not any(volume.missing for volume in volumes)
            assert any(volume.days == 7 for volume in volumes) == weeks


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_weeks_of_rare_kinds_are_no_false_alarm(noise: float) -> None:
    for seed in range(30):
        for since in (None, LAST - timedelta(days=1)):
            volumes = _volumes(_events(seed, noise=noise, scale=0.1), since=since)
            assert [each for each in volumes if each.days == 7 and each.missing] == []


def test_rare_kinds_are_checked_together() -> None:
    events = _events(scale=0.25).with_columns(kind=pl.format("{}-{}", "kind", pl.int_range(pl.len()) % 6))
    cut = events.filter((pl.col("at").dt.date() != LAST - timedelta(days=1)) | (pl.int_range(pl.len()) % 5 == 0))
    assert [volume.kind for volume in _volumes(cut) if volume.missing] == [ALL_KINDS]


def test_the_message_names_three_of_many_days() -> None:
    volumes = [
        Volume(day=date(2026, 3, 1 + n), kind="view", events=10, expected=1234.4, missing=True) for n in range(5)
    ]
    with pytest.raises(DataError, match=r"2026-03-03 has 10 of 1,234 expected events .*also on other days: 2"):
        check_volumes(volumes)
