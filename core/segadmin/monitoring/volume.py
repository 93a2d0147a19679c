"""Finds days on which events are missing: half a day's file, a tracker that failed, an import that was cut off.

A day is compared with the same weekday of the eight weeks before, so neither weekends nor slow growth are alarms. How
much days vary by themselves is measured, too: a shop with wild days must lose more before anything is reported. Kinds
of event that are too rare for that are compared by the week.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from segadmin.errors import DataError
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import SegmentSnapshot

#: The days that are checked: from that of the last snapshot on, which was not over then, and at most this many.
CHECKED_DAYS = 7
#: Weeks to compare with, and how many of them must have the weekday.
_WEEKS, _LEAST_WEEKS = 8, 3
#: Fraction of the expected events from which on a day is complete enough.
_ENOUGH = 0.6
#: Expected events of a day, or of a week, below which nothing can be said.
LEAST_EVENTS = 100
_WEEK = 7
#: Share of a day's events that are usually in by the time of the newest one, below which nothing is said of that day:
#: the first hours of a day vary much more than days do.
_LEAST_SHARE = 0.4
#: Probability of any false alarm in one check, if days vary as a normal distribution of the logarithm.
_ALPHA = 0.001
#: Makes the median absolute deviation that of a normal distribution.
_NORMAL = 1.4826
ALL_KINDS = "all kinds"


class Volume(BaseModel):
    """The events of a kind on one day (UTC), or on the seven days that end with it."""

    model_config = ConfigDict(frozen=True)

    day: date
    kind: str
    events: int
    expected: float | None  #: ``None`` where earlier weeks are too few to say
    missing: bool = False
    days: int = 1
    too_few: bool = False  #: of a week: neither its days nor the week as a whole can be judged

    @property
    def period(self) -> str:
        """The day or the week in words."""
        return f"{self.day:%Y-%m-%d}" if self.days == 1 else f"the week until {self.day:%Y-%m-%d}"


@dataclass(frozen=True)
class DailyEvents:
    """Events by day and kind, of some weeks up to and with ``last``, which may not be over."""

    counts: pl.DataFrame  #: ``day``, ``kind``, ``events``, and ``so_far``: those before the time of day of the newest
    last: date

    @classmethod
    def of(cls, events: pl.LazyFrame, newest: datetime) -> DailyEvents:
        """Count ``events``, of which ``newest`` is the last one."""
        first = datetime.combine((newest - timedelta(weeks=_WEEKS, days=CHECKED_DAYS)).date(), time(), UTC)
        at = pl.col("at")
        counts = (
            events.filter(at >= first, at <= newest)
            .group_by(at.dt.date().alias("day"), "kind")
            .agg(events=pl.len(), so_far=(at.dt.time() <= newest.time()).sum())
            .collect(engine="streaming")
        )
        return cls(counts, newest.date())

    def volumes(self, since: date | None = None) -> list[Volume]:
        """Return the last days, from ``since`` on, with what was expected and whether events are missing.

        Only kinds that were there before are expected. All kinds together stand for those that are too rare alone. Of a
        kind that is too rare on a day to be judged, the last week follows.
        """
        start = self.last - timedelta(days=CHECKED_DAYS - 1)
        days = [day for n in range(CHECKED_DAYS) if (day := start + timedelta(days=n)) >= (since or date.min)]
        total = self.counts.group_by("day").agg(pl.lit(ALL_KINDS).alias("kind"), pl.col("events", "so_far").sum())
        kinds = self.counts.partition_by("kind", as_dict=True)
        series = [_Series.of(str(kind), frame) for (kind,), frame in sorted(kinds.items())]
        if len(series) > 1:
            series.append(_Series.of(ALL_KINDS, total.select(self.counts.columns)))
        least = NormalDist().inv_cdf(_ALPHA / max(len(series) * (len(days) + 1), 1))
        volumes: list[Volume] = []
        for each in series:
            of_days = [each.volume(day, least, so_far=day == self.last) for day in days]
            expected = [volume.expected for volume in of_days if volume.expected is not None]
            open_days = [events for events in expected if events > 0]  # a shop may be closed on Sundays
            is_rare = bool(expected) and min(open_days, default=0.0) < LEAST_EVENTS
            volumes += [*of_days, *([each.week(of_days, least)] if is_rare else [])]
        return volumes


@dataclass(frozen=True)
class _Series:
    """The events of a kind by day."""

    kind: str
    first: date
    whole: dict[date, int]
    so_far: dict[date, int]

    @classmethod
    def of(cls, kind: str, counts: pl.DataFrame) -> _Series:
        days = counts["day"].to_list()
        whole, so_far = (dict(zip(days, counts[name].to_list(), strict=True)) for name in ("events", "so_far"))
        return cls(kind, min(days), whole, so_far)

    def volume(self, day: date, least: float, *, so_far: bool) -> Volume:
        """Return the events of a day, counted up to the time of day of the newest event if it is not over."""
        counts = self.so_far if so_far else self.whole
        seen, usual = counts.get(day, 0), self._usual(day, counts)
        expected = usual.get(day.weekday())
        if so_far and (expected or 0.0) < _LEAST_SHARE * self._usual(day, self.whole).get(day.weekday(), 0.0):
            expected = None
        if expected is None:
            return Volume(day=day, kind=self.kind, events=seen, expected=None)
        deviations = [
            abs(_log_ratio(counts.get(other, 0), usual[other.weekday()]))
            for other in self._before(day)
            if other.weekday() in usual
        ]
        missing = _is_missing(seen, expected, deviations, least)
        return Volume(day=day, kind=self.kind, events=seen, expected=expected, missing=missing)

    def week(self, days: Sequence[Volume], least: float) -> Volume:
        """Return the events of the week that ends with the last of ``days``, which are those since the last snapshot.

        They are missing if too few are in those days as well, so that there is no alarm once the cause is fixed.
        """
        last = days[-1].day
        weeks = [self._week_until(last - timedelta(weeks=n)) for n in range(1, _WEEKS + 1)]
        before = [events for events in weeks if events is not None]
        seen = self._week_until(last) or 0
        known: dict[str, Any] = {"day": last, "kind": self.kind, "events": seen, "days": _WEEK}
        if len(before) < _LEAST_WEEKS:
            return Volume(**known, expected=None, too_few=True)
        expected = float(np.median(before))
        judged = [(day.events, day.expected) for day in days if day.expected is not None]
        is_short = sum(events for events, _ in judged) < _ENOUGH * sum(usual for _, usual in judged)
        deviations = [abs(_log_ratio(events, expected)) for events in before]
        missing = is_short and _is_missing(seen, expected, deviations, least)
        return Volume(**known, expected=expected, missing=missing, too_few=expected < LEAST_EVENTS)

    def _week_until(self, last: date) -> int | None:
        """Return the events of a week, of its last day those up to the time of day of the newest event."""
        days = [last - timedelta(days=n) for n in range(1, _WEEK)]
        if days[-1] < self.first:
            return None
        return self.so_far.get(last, 0) + sum(self.whole.get(day, 0) for day in days)

    def _before(self, day: date) -> Iterator[date]:
        """Yield the days to compare with."""
        for n in range(1, 7 * _WEEKS + 1):
            if (other := day - timedelta(days=n)) >= self.first:
                yield other

    def _usual(self, day: date, counts: dict[date, int]) -> dict[int, float]:
        """Return the median of each weekday before ``day``; weekdays that were too few are left out."""
        by_weekday: dict[int, list[int]] = {}
        for other in self._before(day):
            by_weekday.setdefault(other.weekday(), []).append(counts.get(other, 0))
        return {
            weekday: float(np.median(values)) for weekday, values in by_weekday.items() if len(values) >= _LEAST_WEEKS
        }


def _is_missing(seen: int, expected: float, deviations: Sequence[float], least: float) -> bool:
    """Return whether too few events are there.

    Args:
        seen: events that are there.
        expected: how many should be.
        deviations: absolute logarithms of what was there to what was expected, of the days or weeks before.
        least: quantile of the normal distribution below which chance does not explain the difference.
    """
    spread = max(_NORMAL * float(np.median(deviations)), 1 / float(np.sqrt(max(expected, 1.0))))
    return expected >= LEAST_EVENTS and seen < _ENOUGH * expected and _log_ratio(seen, expected) < least * spread


def _log_ratio(seen: int, expected: float) -> float:
    return float(np.log((seen + 0.5) / (expected + 0.5)))


def recent_volumes(
    settings: Settings, versions: dict[str, int] | None = None, since: datetime | None = None
) -> list[Volume]:
    """Return the events of the last days by kind; empty without events.

    Args:
        settings: location of the store.
        versions: of the lake's tables; default: the newest.
        since: the moment of the last snapshot; the days before were checked then.
    """
    lake = Lake.of(settings, versions)
    newest = lake.latest_event
    if newest is None:
        return []
    return DailyEvents.of(lake.scan("events"), newest).volumes(since.date() if since else None)


def missing_volumes(volumes: Sequence[Volume]) -> list[Volume]:
    """Return what is missing: of a period the kinds, and all kinds together if none alone is."""
    missing = [volume for volume in volumes if volume.missing]
    kinds = {(volume.day, volume.days) for volume in missing if volume.kind != ALL_KINDS}
    return [volume for volume in missing if volume.kind != ALL_KINDS or (volume.day, volume.days) not in kinds]


def check_volumes(volumes: Sequence[Volume]) -> None:
    """Refuse to go on while events of a day are missing. Weeks of rare kinds are only reported.

    Raises:
        DataError: with the days and kinds, what was expected, what there is, and the fix.
    """
    shown = [volume for volume in missing_volumes(volumes) if volume.days == 1]
    if not shown:
        return
    facts = [
        f"{volume.day:%Y-%m-%d} has {volume.events:,} of {volume.expected:,.0f} expected events ({volume.kind})"
        for volume in shown[:3]
    ]
    more = f"; also on other days: {len(shown) - 3}" if len(shown) > 3 else ""
    raise DataError(
        f"Events seem to be missing: {'; '.join(facts)}, by the same weekday of the weeks before{more}. "
        "Import what is missing, or go on without it: --force"
    )


def check_recent_days(settings: Settings, versions: dict[str, int], label_set: str) -> None:
    """Refuse to go on while events are missing since the current snapshot of ``label_set``.

    Nothing is read if no events came since: whoever made the snapshot decided.

    Args:
        settings: location of the store and the database.
        versions: of the lake's tables.
        label_set: the label set.

    Raises:
        DataError: see :func:`check_volumes`.
    """
    with reading(settings) as session:
        number = pointed(session, current_snapshot(label_set))
        snapshot = None if number is None else session.get_one(SegmentSnapshot, number)
    if snapshot is not None and snapshot.lake_versions.get("events") == versions.get("events"):
        return
    check_volumes(recent_volumes(settings, versions, snapshot.as_of if snapshot else None))
