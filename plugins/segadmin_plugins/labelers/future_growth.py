"""``future-growth``: whether a user will spend more or less than now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import Definition, Future


@dataclass(frozen=True)
class FutureGrowth(Future):
    """The weekly spend after the cut-off compared with that before it: down, flat (within ``flat``), or up.

    Users who spent nothing in the weeks before have no label.
    """

    name: ClassVar[str] = "future-growth"
    flat: float = 0.25  #: a change by up to this fraction counts as flat
    against_weeks: int = 0  #: weeks before the cut-off to compare with; 0: all observed weeks

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the change as a fraction of the earlier spend; users who spent nothing before are left out."""
        weeks = self.against_weeks or self.observe_weeks
        last = seen.filter(pl.col("ago") <= timedelta(weeks=weeks))
        before = last.group_by("user_key").agg(before=pl.col("price").sum() / weeks)
        later = after.group_by("user_key").agg(later=pl.col("price").sum() / self.outcome_weeks)
        both = before.join(later, on="user_key", how="left").filter(pl.col("before") > 0)
        return both.select("user_key", value=pl.col("later").fill_null(0.0) / pl.col("before") - 1)

    def learn(self, measured: pl.DataFrame) -> Definition:
        """Return the change that counts as flat."""
        return {"flat": self.flat}

    def names(self, definition: Definition) -> tuple[str, ...]:
        """Return the three segments."""
        return ("down", "flat", "up")

    def assign(self, measured: pl.DataFrame, definition: Definition) -> pl.Series:
        """Return the segment of every row."""
        value, flat = pl.col("value"), definition["flat"]
        down = pl.when(value < -flat).then(pl.lit("down")).when(value > flat).then(pl.lit("up"))
        return measured.select(down.when(value.is_not_null()).then(pl.lit("flat")).alias("segment")).to_series()
