"""What users will do: observed up to a cut-off, labelled by what comes after it; the base of every such labeler."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from segadmin.contracts.labeler import Labeler, Labelled
from segadmin.errors import DataError
from segadmin.events.items import OF_ITEMS, facet
from segadmin.storage.schema import TIME

Found = dict[str, Any]
_WINDOWS = ("observe_weeks", "outcome_weeks")


@dataclass(frozen=True)
class Future(Labeler):
    """Users who bought in the weeks before each cut-off, by what they do in the weeks after it.

    The outcome begins where the observation ends, so no label can be read off the text. Thresholds and the like come
    from the training cut-offs only, so the test cut-offs are labelled as the future will be. Weeks are counted from
    ``first_week``, by default the first event's day.
    """

    observe_weeks: int = 16
    outcome_weeks: int = 8
    #: ends of the observed weeks, counted from the first week
    train_cuts: str | tuple[int, ...] = "16,24,32"
    test_cuts: str | tuple[int, ...] = "40,44"  #: none where users are kept apart: ``--split user``
    first_week: str = ""  #: ISO time at which week 1 begins

    @abstractmethod
    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return ``user_key`` and the numbers that decide, for users of ``seen`` or ``after``; null is nothing.

        Args:
            seen: purchases of the observed weeks, with the items' title, category, brand and ``item_extras``,
                and ``ago``: how long before the cut-off.
            after: purchases of the weeks after them.
        """

    @abstractmethod
    def learn(self, measured: pl.DataFrame) -> Found:
        """Return what the training cut-offs show: thresholds, categories; JSON only."""

    @abstractmethod
    def names(self, found: Found) -> tuple[str, ...]:
        """Return the segments, in their natural order."""

    @abstractmethod
    def assign(self, measured: pl.DataFrame, found: Found) -> pl.Series:
        """Return the segment of every row; null where nothing tells."""

    def label(self, events: pl.LazyFrame) -> Labelled:
        """Return the labelled users; see :meth:`segadmin.contracts.labeler.Labeler.label`."""
        bought = events.filter(pl.col("kind") == "purchase")
        train, test = self._cuts(bought)
        self._check_end(events, max(train + test) + timedelta(weeks=self.outcome_weeks))
        measured = pl.concat([self._measured(bought, cut) for cut in train + test]).collect()
        learnt = measured.filter(pl.col("as_of").is_in(train))
        found = self.learn(learnt)
        rows = measured.select(
            "user_key", "observed_from", "as_of", "outcome_until", self.assign(measured, found).alias("segment")
        ).drop_nulls("segment")
        names = self.names(found)
        here = set(rows.filter(pl.col("as_of").is_in(train))["segment"].unique())
        if missing := [name for name in names if name not in here]:
            raise DataError(
                f"None of the {learnt.height:,} training rows is {missing[0]!r}; {self._told(found)}. Have the events "
                "prices (--map price=COLUMN)? Other windows may help: -o outcome_weeks=12"
            )
        weeks = {name: getattr(self, name) for name in _WINDOWS}
        cuts = {"train_cuts": [cut.isoformat() for cut in train], "test_cuts": [cut.isoformat() for cut in test]}
        return Labelled(rows=rows, segments=names, definition={**found, **cuts, **weeks})

    def outcomes(self, events: pl.LazyFrame, definition: Found, as_of: datetime) -> pl.DataFrame | None:
        """Return what became of users after ``as_of``; see :meth:`segadmin.contracts.labeler.Labeler.outcomes`."""
        weeks = {name: definition[name] for name in _WINDOWS}
        latest = events.select(pl.col("at").max()).collect().item()
        if latest is None or as_of + timedelta(weeks=weeks["outcome_weeks"]) > latest:
            return None
        then = replace(self, **weeks)
        measured = then._measured(events.filter(pl.col("kind") == "purchase"), as_of).collect()
        segments = then.assign(measured, definition).alias("segment")
        return measured.select("user_key", segments).drop_nulls("segment")

    def _told(self, found: Found) -> str:
        return ", ".join(f"{name} {value}" for name, value in found.items()) or "they are too much alike"

    def _cuts(self, bought: pl.LazyFrame) -> tuple[list[datetime], list[datetime]]:
        """Return the training and the test cut-offs."""
        if self.observe_weeks < 1 or self.outcome_weeks < 1:
            raise DataError(
                f"observe_weeks={self.observe_weeks} and outcome_weeks={self.outcome_weeks} must be 1 or more."
            )
        train, test = _weeks(self.train_cuts), _weeks(self.test_cuts, needed=False)
        both = sorted(set(train) & set(test))
        if both:
            raise DataError(
                f"Week {both[0]} is in train_cuts and in test_cuts: a test on what was learnt says nothing."
            )
        first = bought.select(pl.col("at").min()).collect().item()
        if first is None:
            raise DataError("There are no purchases, so there is nothing to label by. Import purchase events.")
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        start = _moment(self.first_week) if self.first_week else midnight
        return [start + timedelta(weeks=week) for week in train], [start + timedelta(weeks=week) for week in test]

    @staticmethod
    def _check_end(events: pl.LazyFrame, end: datetime) -> None:
        """Refuse outcome windows that are not over: what is missing would read as nothing done."""
        last = events.select(pl.col("at").max()).collect().item()
        if end > last + timedelta(days=1):  # a night without an event is no end
            raise DataError(
                f"The events end on {last:%Y-%m-%d}, but the last outcome window ends on {end:%Y-%m-%d}. "
                "Choose earlier cut-offs: -o train_cuts=4,8 -o test_cuts=12"
            )

    def _measured(self, bought: pl.LazyFrame, cut: datetime) -> pl.LazyFrame:
        """Return every user seen before ``cut`` with what was measured, null where nothing was."""
        observed_from = cut - timedelta(weeks=self.observe_weeks)
        until = cut + timedelta(weeks=self.outcome_weeks)
        seen = bought.filter(pl.col("at").is_between(observed_from, cut, closed="left")).with_columns(
            ago=pl.lit(cut) - pl.col("at")
        )
        after = bought.filter(pl.col("at").is_between(cut, until, closed="left"))
        users = seen.select("user_key").unique()
        return users.join(self.measure(seen, after), on="user_key", how="left").with_columns(
            observed_from=pl.lit(observed_from, dtype=TIME),
            as_of=pl.lit(cut, dtype=TIME),
            outcome_until=pl.lit(until, dtype=TIME),
        )


@dataclass(frozen=True)
class Terciles(Future):
    """By one number: those who have little of it, a middle amount, or much."""

    def learn(self, measured: pl.DataFrame) -> Found:
        """Return the two thresholds that cut the training rows in three."""
        value = measured["value"]
        return {"thresholds": [float(value.quantile(share, "linear") or 0.0) for share in (1 / 3, 2 / 3)]}

    def names(self, found: Found) -> tuple[str, ...]:
        """Return the three segments."""
        return ("low", "mid", "high")

    def assign(self, measured: pl.DataFrame, found: Found) -> pl.Series:
        """Return the tercile of every row."""
        lower, upper = found["thresholds"]
        value = pl.col("value")
        low = pl.when(value <= lower).then(pl.lit("low")).when(value <= upper).then(pl.lit("mid"))
        return measured.select(low.when(value > upper).then(pl.lit("high")).alias("segment")).to_series()


@dataclass(frozen=True)
class YesOrNo(Future):
    """By whether something happens: ``value`` above 0."""

    def learn(self, measured: pl.DataFrame) -> Found:
        """Return nothing: there is no threshold to find."""
        return {}

    def names(self, found: Found) -> tuple[str, ...]:
        """Return the two segments."""
        return ("no", "yes")

    def assign(self, measured: pl.DataFrame, found: Found) -> pl.Series:
        """Return whether it happened."""
        happened = pl.col("value").fill_null(0) > 0
        answer = pl.when(happened).then(pl.lit("yes")).otherwise(pl.lit("no"))
        return measured.select(answer.alias("segment")).to_series()


def of_items(name: str) -> pl.Expr:
    """Return what the purchases' items are said to be: title, category, brand, or one of their extras."""
    return pl.col(name) if name in OF_ITEMS else facet(name, "item_extras")


def _moment(words: str) -> datetime:
    try:
        moment = datetime.fromisoformat(words)
    except ValueError:
        raise DataError(f"first_week={words!r} is not a time. Write it as 2026-01-05 or 2026-01-05T00:00:00.") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _weeks(given: str | tuple[int, ...], *, needed: bool = True) -> list[int]:
    words = [word for word in given.split(",") if word.strip()] if isinstance(given, str) else given
    try:
        weeks = sorted({int(word) for word in words})
    except ValueError:
        weeks = []
    if not weeks and (needed or words):
        raise DataError(f"{given!r} is not a list of weeks. Write them as 16,24,32.")
    return weeks
