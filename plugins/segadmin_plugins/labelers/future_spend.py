"""Labels from the future: what users spend in the weeks after the text ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import polars as pl

from segadmin.errors import DataError
from segadmin.events.schema import TIME
from segadmin.learn.labeler import Labeler, Labelled


@dataclass(frozen=True)
class FutureSpend(Labeler):
    """Terciles of the spend in the weeks after each cut-off, for users seen in the weeks before it.

    The thresholds come from the training cut-offs only, so the test cut-offs are labelled as the future will be.
    Weeks are counted from ``first_week``, by default the first event's day.
    """

    name: ClassVar[str] = "future-spend"
    observe_weeks: int = 16
    outcome_weeks: int = 8
    train_cuts: str = "16,24,32"  #: ends of the observed weeks, counted from the first week
    test_cuts: str = "40,44"
    first_week: str = ""  #: ISO time at which week 1 begins

    segments: ClassVar[tuple[str, ...]] = ("low", "mid", "high")

    def label(self, events: pl.LazyFrame) -> Labelled:
        """Return the labelled users; see :meth:`segadmin.learn.labeler.Labeler.label`."""
        bought = events.filter(pl.col("kind") == "purchase")
        train, test = self._cuts(bought)
        self._check_end(events, max(train + test) + timedelta(weeks=self.outcome_weeks))
        spend = pl.concat([self._spend(bought, cut) for cut in train + test]).collect()
        learnt = spend.filter(pl.col("as_of").is_in(train))["spend"]
        lower, upper = (float(learnt.quantile(share, "linear") or 0.0) for share in (1 / 3, 2 / 3))
        rows = spend.with_columns(segment=_segment(lower, upper)).drop("spend")
        learnable = set(rows.filter(pl.col("as_of").is_in(train))["segment"].unique())
        if learnable != set(self.segments):
            raise DataError(
                f"The {learnt.len():,} training rows spend too much alike for three segments (up to {lower:g}, up to "
                f"{upper:g}, above). Have the events prices (--map price=COLUMN)? Longer outcomes may help: "
                "-o outcome_weeks=12"
            )
        return Labelled(
            rows=rows,
            segments=self.segments,
            definition=self._definition(train, test, lower, upper),
        )

    def outcomes(self, events: pl.LazyFrame, definition: dict[str, Any], as_of: datetime) -> pl.DataFrame | None:
        """Return what users spent after ``as_of``; see :meth:`segadmin.learn.labeler.Labeler.outcomes`."""
        weeks = {name: definition[name] for name in ("observe_weeks", "outcome_weeks")}
        latest = events.select(pl.col("at").max()).collect().item()
        if latest is None or as_of + timedelta(weeks=weeks["outcome_weeks"]) > latest:
            return None
        spend = replace(self, **weeks)._spend(events.filter(pl.col("kind") == "purchase"), as_of)
        return spend.select("user_key", segment=_segment(*definition["thresholds"])).collect()

    def _cuts(self, bought: pl.LazyFrame) -> tuple[list[datetime], list[datetime]]:
        """Return the training and the test cut-offs."""
        if self.observe_weeks < 1 or self.outcome_weeks < 1:
            raise DataError(
                f"observe_weeks={self.observe_weeks} and outcome_weeks={self.outcome_weeks} must be 1 or more."
            )
        train, test = _weeks(self.train_cuts), _weeks(self.test_cuts)
        both = sorted(set(train) & set(test))
        if both:
            raise DataError(
                f"Week {both[0]} is in train_cuts and in test_cuts: a test on what was learnt says nothing."
            )
        first = bought.select(pl.col("at").min()).collect().item()
        if first is None:
            raise DataError("There are no purchases, so there is no spend to label by. Import purchase events.")
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        start = _moment(self.first_week) if self.first_week else midnight
        return [start + timedelta(weeks=week) for week in train], [start + timedelta(weeks=week) for week in test]

    @staticmethod
    def _check_end(events: pl.LazyFrame, end: datetime) -> None:
        """Refuse outcome windows that are not over: what is missing would read as no spend."""
        last = events.select(pl.col("at").max()).collect().item()
        if end > last + timedelta(days=1):  # a night without an event is no end
            raise DataError(
                f"The events end on {last:%Y-%m-%d}, but the last outcome window ends on {end:%Y-%m-%d}. "
                "Choose earlier cut-offs: -o train_cuts=4,8 -o test_cuts=12"
            )

    def _spend(self, bought: pl.LazyFrame, cut: datetime) -> pl.LazyFrame:
        """Return every user seen before ``cut`` with what they spent after it, 0 if nothing."""
        observed_from = cut - timedelta(weeks=self.observe_weeks)
        until = cut + timedelta(weeks=self.outcome_weeks)
        seen = bought.filter(pl.col("at").is_between(observed_from, cut, closed="left")).select("user_key").unique()
        after = bought.filter(pl.col("at").is_between(cut, until, closed="left"))
        after = after.group_by("user_key").agg(spend=pl.col("price").sum())
        return seen.join(after, on="user_key", how="left").select(
            "user_key",
            observed_from=pl.lit(observed_from, dtype=TIME),
            as_of=pl.lit(cut, dtype=TIME),
            outcome_until=pl.lit(until, dtype=TIME),
            spend=pl.col("spend").fill_null(0.0),
        )

    def _definition(self, train: list[datetime], test: list[datetime], lower: float, upper: float) -> dict[str, Any]:
        return {
            "thresholds": [lower, upper],
            "train_cuts": [cut.isoformat() for cut in train],
            "test_cuts": [cut.isoformat() for cut in test],
            "observe_weeks": self.observe_weeks,
            "outcome_weeks": self.outcome_weeks,
        }


def _segment(lower: float, upper: float) -> pl.Expr:
    low = pl.when(pl.col("spend") <= lower).then(pl.lit("low"))
    return low.when(pl.col("spend") <= upper).then(pl.lit("mid")).otherwise(pl.lit("high"))


def _moment(words: str) -> datetime:
    try:
        moment = datetime.fromisoformat(words)
    except ValueError:
        raise DataError(f"first_week={words!r} is not a time. Write it as 2026-01-05 or 2026-01-05T00:00:00.") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _weeks(words: str) -> list[int]:
    try:
        weeks = sorted({int(word) for word in words.split(",") if word.strip()})
    except ValueError:
        weeks = []
    if not weeks:
        raise DataError(f"{words!r} is not a list of weeks. Write them as 16,24,32.")
    return weeks
