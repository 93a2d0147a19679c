"""``future-spend``: the tercile of a user's spend in the next weeks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import Terciles


@dataclass(frozen=True)
class FutureSpend(Terciles):
    """Terciles of the spend after the cut-off; users who buy nothing more are ``low``."""

    name: ClassVar[str] = "future-spend"

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the spend of each user, 0 if there is none."""
        spent = after.group_by("user_key").agg(value=pl.col("price").sum())
        return (
            seen.select("user_key")
            .unique()
            .join(spent, on="user_key", how="left")
            .with_columns(pl.col("value").fill_null(0.0))
        )
