"""``future-affinity``: what a user will turn to more than others do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from segadmin_plugins.labelers.future import Found, Future


@dataclass(frozen=True)
class FutureAffinity(Future):
    """The category whose share after the cut-off stands out most: by how many standard deviations above the mean.

    Only the categories that most training users buy are looked at. Who buys none of them has no label.
    """

    name: ClassVar[str] = "future-affinity"
    by: Literal["category", "brand"] = "category"
    categories: int = 10

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return how often each user buys of what, as a list."""
        counts = after.drop_nulls(self.by).group_by("user_key", pl.col(self.by).alias("what")).len("times")
        return counts.group_by("user_key").agg(value=pl.struct("what", "times").sort_by("what"))

    def learn(self, measured: pl.DataFrame) -> Found:
        """Return the categories with the mean and the deviation of their shares."""
        one = _shares(measured)
        users = one["row"].n_unique()
        common = one.group_by("what").len().sort("len", "what", descending=[True, False]).head(self.categories)
        inside = (
            one.join(common, on="what")
            .group_by("what")
            .agg(mean=pl.col("share").sum() / users, square=(pl.col("share") ** 2).sum() / users)
        )
        spread = (pl.col("square") - pl.col("mean") ** 2).clip(lower_bound=1e-12).sqrt()
        told = inside.sort("what").select("what", "mean", spread=spread)
        return {name: told[name].to_list() for name in told.columns}

    def names(self, found: Found) -> tuple[str, ...]:
        """Return the categories."""
        return tuple(found["what"])

    def assign(self, measured: pl.DataFrame, found: Found) -> pl.Series:
        """Return the category that stands out most."""
        of = pl.DataFrame({name: found[name] for name in ("what", "mean", "spread")})
        deviations = (pl.col("share") - pl.col("mean")) / pl.col("spread")
        scored = _shares(measured).join(of, on="what").with_columns(z=deviations)
        best = scored.sort("z", "what", descending=[True, False]).group_by("row", maintain_order=True).first()
        rows = measured.select(row=pl.int_range(pl.len(), dtype=pl.UInt32))
        return rows.join(best.select("row", segment="what"), on="row", how="left", maintain_order="left")["segment"]


def _shares(measured: pl.DataFrame) -> pl.DataFrame:
    """Return ``row``, ``what`` and its ``share`` of all that the row's user buys."""
    one = measured.select("value").with_row_index("row").explode("value").unnest("value").drop_nulls("what")
    return one.with_columns(share=pl.col("times") / pl.col("times").sum().over("row"))
