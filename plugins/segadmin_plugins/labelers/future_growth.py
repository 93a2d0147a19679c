"""``future-growth``: whether a user will spend more or less than now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import Found, Future


@dataclass(frozen=True)
class FutureGrowth(Future):
    """The spend a week after the cut-off beside that before it: down, flat (within ``flat``), or up.

    Who spent nothing in the weeks before has no label.
    """

    name: ClassVar[str] = "future-growth"
    flat: float = 0.25  #: a change by up to this share is none
    against_weeks: int = 0  #: so many weeks before the cut-off count; 0: all that are observed

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the change as a share of what was spent before; null where that is nothing."""
        weeks = self.against_weeks or self.observe_weeks
        last = seen.filter(pl.col("ago") <= timedelta(weeks=weeks))
        before = last.group_by("user_key").agg(before=pl.col("price").sum() / weeks)
        later = after.group_by("user_key").agg(later=pl.col("price").sum() / self.outcome_weeks)
        both = before.join(later, on="user_key", how="left").filter(pl.col("before") > 0)
        return both.select("user_key", value=pl.col("later").fill_null(0.0) / pl.col("before") - 1)

    def learn(self, measured: pl.DataFrame) -> Found:
        """Return how much change is none."""
        return {"flat": self.flat}

    def names(self, found: Found) -> tuple[str, ...]:
        """Return the three segments."""
        return ("down", "flat", "up")

    def assign(self, measured: pl.DataFrame, found: Found) -> pl.Series:
        """Return where each row goes."""
        value, flat = pl.col("value"), found["flat"]
        down = pl.when(value < -flat).then(pl.lit("down")).when(value > flat).then(pl.lit("up"))
        return measured.select(down.when(value.is_not_null()).then(pl.lit("flat")).alias("segment")).to_series()
