"""``future-share``: how large a part of what a user buys will be of one brand or category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import Terciles, of_items


@dataclass(frozen=True)
class FutureShare(Terciles):
    """Terciles of the share of purchases after the cut-off that are of ``value``; who buys too little has no label."""

    name: ClassVar[str] = "future-share"
    of: str = "brand"  #: or ``category``, ``title``, or an extra of the items, such as ``department``
    value: str = "Private"
    least: int = 1  #: purchases after the cut-off; a share of two or three says little

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the share of each user who buys."""
        share = (of_items(self.of) == self.value).fill_null(value=False).mean()
        shares = after.group_by("user_key").agg(share.alias("value"), n=pl.len())
        return shares.filter(pl.col("n") >= self.least).drop("n")
