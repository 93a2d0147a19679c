"""``future-lapse``: whether a user will stay away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import YesOrNo


@dataclass(frozen=True)
class FutureLapse(YesOrNo):
    """Whether a user buys nothing at all in the weeks after the cut-off."""

    name: ClassVar[str] = "future-lapse"
    outcome_weeks: int = 4

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return 1 for users who buy nothing."""
        users = seen.select("user_key").unique()
        return users.join(after.select("user_key").unique(), on="user_key", how="anti").with_columns(value=pl.lit(1))
