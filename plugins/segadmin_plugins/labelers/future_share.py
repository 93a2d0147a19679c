"""``future-share``: how large a part of what a user buys will be of one brand or category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from segadmin_plugins.labelers.future import Terciles


@dataclass(frozen=True)
class FutureShare(Terciles):
    """Terciles of the share of purchases after the cut-off that are of ``value``; who buys nothing has no label."""

    name: ClassVar[str] = "future-share"
    of: Literal["brand", "category", "title"] = "brand"
    value: str = "Private"

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the share of each user who buys."""
        return after.group_by("user_key").agg(value=(pl.col(self.of) == self.value).fill_null(value=False).mean())
