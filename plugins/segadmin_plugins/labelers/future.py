"""Labels of future behaviour: users are observed up to a cut-off and labelled by what they do after it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from segadmin.contracts.labeler import Labeler, Labelled
from segadmin.counts import counted
from segadmin.errors import DataError
from segadmin.events.items import OF_ITEMS, facet
from segadmin.storage.schema import TIME

Definition = dict[str, Any]
_WINDOWS = ("observe_weeks", "outcome_weeks")


@dataclass(frozen=True)
class Future(Labeler):
    """Labels users who bought in the weeks before each cut-off by what they do in the weeks after it.

    The outcome begins where the observation ends, so the text never contains the label. Thresholds and categories come
    from the training cut-offs only, so the test cut-offs are labelled as future data would be. Weeks are counted from
    ``first_week``, by default the first event's day.
    """

    observe_weeks: int = 16
    outcome_weeks: int = 8
    #: ends of the observed weeks, counted from the first week
    train_cuts: str | tuple[int, ...] = "16,24,32"
    test_cuts: str | tuple[int, ...] = "40,44"  #: empty if users are split: ``--split user``
    first_week: str = ""  #: ISO time at which week 1 begins

    @abstractmethod
    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return ``user_key`` and the numbers that decide the label, for users of ``seen`` or ``after``.

        A number is null if it is unknown.

        Args:
            seen: purchases of the observed weeks, with the items' title, category, brand and ``item_extras``,
                and ``ago``: how long before the cut-off.
            after: purchases of the weeks after them.
        """

    @abstractmethod
    def learn(self, measured: pl.DataFrame) -> Definition:
        """Return the thresholds or categories of the training cut-offs; JSON values only."""

    @abstractmethod
    def names(self, definition: Definition) -> tuple[str, ...]:
        """Return the segments, in their natural order."""

    @abstractmethod
    def assign(self, measured: pl.DataFrame, definition: Definition) -> pl.Series:
        """Return the segment of every row; null if it cannot be determined."""

    def label(self, events: pl.LazyFrame) -> Labelled:
        """Return the labelled users; see :meth:`segadmin.contracts.labeler.Labeler.label`."""
        bought = events.filter(pl.col("kind") == "purchase")
        start = self._start(bought)
        train, test = self._cuts(start)
        self._check_end(events, start, max(train + test) + timedelta(weeks=self.outcome_weeks))
        measured = pl.concat([self._measured(bought, cut) for cut in train + test]).collect()
        training = measured.filter(pl.col("as_of").is_in(train))
        definition = self.learn(training)
        rows = measured.select(
            "user_key", "observed_from", "as_of", "outcome_until", self.assign(measured, definition).alias("segment")
        ).drop_nulls("segment")
        names = self.names(definition)
        observed = set(rows.filter(pl.col("as_of").is_in(train))["segment"].unique())
        if missing := [name for name in names if name not in observed]:
            raise DataError(
                f"None of the {training.height:,} training rows is {missing[0]!r}; {self._summary(definition)}. "
                "Have the events prices (--map price=COLUMN)? Other windows may help: -o outcome_weeks=12"
            )
        weeks = {name: getattr(self, name) for name in _WINDOWS}
        cuts = {"train_cuts": [cut.isoformat() for cut in train], "test_cuts": [cut.isoformat() for cut in test]}
        return Labelled(rows=rows, segments=names, definition={**definition, **cuts, **weeks})

    def outcomes(self, events: pl.LazyFrame, definition: Definition, as_of: datetime) -> pl.DataFrame | None:
        """Return the later segments of users; see :meth:`segadmin.contracts.labeler.Labeler.outcomes`."""
        weeks = {name: definition[name] for name in _WINDOWS}
        latest = events.select(pl.col("at").max()).collect().item()
        if latest is None or as_of + timedelta(weeks=weeks["outcome_weeks"]) > latest:
            return None
        labeler = replace(self, **weeks)
        measured = labeler._measured(events.filter(pl.col("kind") == "purchase"), as_of).collect()
        segments = labeler.assign(measured, definition).alias("segment")
        return measured.select("user_key", segments).drop_nulls("segment")

    def _summary(self, definition: Definition) -> str:
        return ", ".join(f"{name} {value}" for name, value in definition.items()) or "they are too much alike"

    def _start(self, bought: pl.LazyFrame) -> datetime:
        """Return the moment from which weeks are counted."""
        first = bought.select(pl.col("at").min()).collect().item()
        if first is None:
            raise DataError("There are no purchases, so there is nothing to label by. Import purchase events.")
        return _time(self.first_week) if self.first_week else first.replace(hour=0, minute=0, second=0, microsecond=0)

    def _cuts(self, start: datetime) -> tuple[list[datetime], list[datetime]]:
        """Return the training and the test cut-offs."""
        if self.observe_weeks < 1 or self.outcome_weeks < 1:
            raise DataError(
                f"observe_weeks={self.observe_weeks} and outcome_weeks={self.outcome_weeks} must be 1 or more."
            )
        train, test = _weeks(self.train_cuts), _weeks(self.test_cuts, needed=False)
        both = sorted(set(train) & set(test))
        if both:
            raise DataError(
                f"Week {both[0]} is in train_cuts and in test_cuts: a test on training data is meaningless."
            )
        return [start + timedelta(weeks=week) for week in train], [start + timedelta(weeks=week) for week in test]

    @staticmethod
    def _check_end(events: pl.LazyFrame, start: datetime, end: datetime) -> None:
        """Refuse outcome windows that have not ended: missing events would be read as inactivity."""
        last = events.select(pl.col("at").max()).collect().item()
        if end > last + timedelta(days=1):  # the last day may end without an event
            raise DataError(
                f"The events end on {last:%Y-%m-%d}, but the last outcome window ends on {end:%Y-%m-%d}. "
                + _advice((last - start) // timedelta(weeks=1))
            )

    def _measured(self, bought: pl.LazyFrame, cut: datetime) -> pl.LazyFrame:
        """Return every user seen before ``cut`` with the measured numbers; null where there are none."""
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


def _advice(weeks: int) -> str:
    """Return options with which events of so many whole weeks can be labelled."""
    if weeks < 4:
        return f"Events of {counted(weeks, 'week')} are too few to label by; import at least four weeks."
    outcome = min(8, weeks // 4)
    test = weeks - outcome
    train = [cut for cut in (test - 3 * outcome, test - 2 * outcome, test - outcome) if cut >= outcome]
    cuts = f"-o train_cuts={','.join(map(str, train))} -o test_cuts={test}"
    return f"Choose earlier cut-offs: -o observe_weeks={min(16, test)} -o outcome_weeks={outcome} {cuts}"


@dataclass(frozen=True)
class Terciles(Future):
    """Segments ``low``, ``mid`` and ``high``: the terciles of one number."""

    def learn(self, measured: pl.DataFrame) -> Definition:
        """Return the two thresholds that divide the training rows into three equal parts."""
        value = measured["value"]
        return {"thresholds": [float(value.quantile(share, "linear") or 0.0) for share in (1 / 3, 2 / 3)]}

    def names(self, definition: Definition) -> tuple[str, ...]:
        """Return the three segments."""
        return ("low", "mid", "high")

    def assign(self, measured: pl.DataFrame, definition: Definition) -> pl.Series:
        """Return the tercile of every row."""
        lower, upper = definition["thresholds"]
        value = pl.col("value")
        low = pl.when(value <= lower).then(pl.lit("low")).when(value <= upper).then(pl.lit("mid"))
        return measured.select(low.when(value > upper).then(pl.lit("high")).alias("segment")).to_series()


@dataclass(frozen=True)
class YesOrNo(Future):
    """Segments ``no`` and ``yes``: whether ``value`` is above 0."""

    def learn(self, measured: pl.DataFrame) -> Definition:
        """Return an empty definition: there is no threshold."""
        return {}

    def names(self, definition: Definition) -> tuple[str, ...]:
        """Return the two segments."""
        return ("no", "yes")

    def assign(self, measured: pl.DataFrame, definition: Definition) -> pl.Series:
        """Return ``yes`` or ``no`` for every row."""
        happened = pl.col("value").fill_null(0) > 0
        answer = pl.when(happened).then(pl.lit("yes")).otherwise(pl.lit("no"))
        return measured.select(answer.alias("segment")).to_series()


def of_items(name: str) -> pl.Expr:
    """Return an attribute of the purchased items: title, category, brand, or one of their extras."""
    return pl.col(name) if name in OF_ITEMS else facet(name, "item_extras")


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"first_week={text!r} is not a time. Write it as 2026-01-05 or 2026-01-05T00:00:00.") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _weeks(value: str | tuple[int, ...], *, needed: bool = True) -> list[int]:
    words = [word for word in value.split(",") if word.strip()] if isinstance(value, str) else value
    try:
        weeks = sorted({int(word) for word in words})
    except ValueError:
        weeks = []
    if not weeks and (needed or words):
        raise DataError(f"{value!r} is not a list of weeks. Write them as 16,24,32.")
    return weeks
