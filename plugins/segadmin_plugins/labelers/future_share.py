"""``future-share``: the share of one brand or category in a user's future purchases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin_plugins.labelers.future import Terciles, of_items


@dataclass(frozen=True)
class FutureShare(Terciles):
    """Terciles of the share of ``value`` in purchases after the cut-off; users with too few purchases have no label."""

    name: ClassVar[str] = "future-share"
    of: str = "brand"  #: or ``category``, ``title``, or an extra of the items, such as ``department``
    value: str = "Private"
    least: int = 1  #: purchases after the cut-off; a share of two or three purchases is unreliable

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the share for each user with enough purchases."""
        share = (of_items(self.of) == self.value).fill_null(value=False).mean()
        shares = after.group_by("user_key").agg(share.alias("value"), n=pl.len())
        return shares.filter(pl.col("n") >= self.least).drop("n")
