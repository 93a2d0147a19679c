"""``future-spend``: in which third a user's spend of the next weeks will lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import Terciles


@dataclass(frozen=True)
class FutureSpend(Terciles):
    """Terciles of the spend after the cut-off; who buys nothing more is low."""

    name: ClassVar[str] = "future-spend"

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return what each user spends, 0 where nothing."""
        spent = after.group_by("user_key").agg(value=pl.col("price").sum())
        return (
            seen.select("user_key")
            .unique()
            .join(spent, on="user_key", how="left")
            .with_columns(pl.col("value").fill_null(0.0))
        )
