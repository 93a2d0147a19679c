"""``future-use``: whether a user will use a coupon, or another extra column of purchases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.events.extras import amount
from segadmin_plugins.labelers.future import YesOrNo


@dataclass(frozen=True)
class FutureUse(YesOrNo):
    """Whether some purchase after the cut-off has a number above 0 in an extra column (``--extra coupon_disc``)."""

    name: ClassVar[str] = "future-use"
    field: str = "coupon"  #: of the events' extras

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return the sum of the extra column for each user."""
        return after.group_by("user_key").agg(value=amount(self.field).clip(lower_bound=0).sum())
