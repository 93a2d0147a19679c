"""``future-affinity``: the category that a user will prefer more than others do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.errors import DataError
from segadmin_plugins.labelers.future import Definition, Future, of_items


@dataclass(frozen=True)
class FutureAffinity(Future):
    """The category whose share after the cut-off stands out most: by how many standard deviations above the mean.

    Only the categories that most training users buy are considered. Users who buy none of them, or fewer than ``least``
    lines, have no label.
    """

    name: ClassVar[str] = "future-affinity"
    by: str = "category"  #: or ``brand``, or an extra of the items, such as ``department``
    categories: int = 10
    least: int = 1  #: purchases after the cut-off; a share of two or three purchases is unreliable

    def measure(self, seen: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
        """Return how often each user buys in each category, as a list."""
        counts = after.group_by("user_key", what=of_items(self.by)).len("times").drop_nulls("what")
        value, bought = pl.struct("what", "times").sort_by("what"), pl.col("times").sum()
        return (
            counts.group_by("user_key").agg(value.alias("value"), n=bought).filter(pl.col("n") >= self.least).drop("n")
        )

    def learn(self, measured: pl.DataFrame) -> Definition:
        """Return the categories with the mean and the deviation of their shares."""
        shares = _shares(measured)
        if shares.is_empty():
            raise DataError(f"No item that is bought has a {self.by}. Name what they have: -o by=category")
        users = shares["row"].n_unique()
        common = shares.group_by("what").len().sort("len", "what", descending=[True, False]).head(self.categories)
        inside = (
            shares.join(common, on="what")
            .group_by("what")
            .agg(mean=pl.col("share").sum() / users, square=(pl.col("share") ** 2).sum() / users)
        )
        spread = (pl.col("square") - pl.col("mean") ** 2).clip(lower_bound=1e-12).sqrt()
        categories = inside.sort("what").select("what", "mean", spread=spread)
        return {name: categories[name].to_list() for name in categories.columns}

    def names(self, definition: Definition) -> tuple[str, ...]:
        """Return the categories."""
        return tuple(definition["what"])

    def assign(self, measured: pl.DataFrame, definition: Definition) -> pl.Series:
        """Return the category that stands out most."""
        of = pl.DataFrame({name: definition[name] for name in ("what", "mean", "spread")})
        deviations = (pl.col("share") - pl.col("mean")) / pl.col("spread")
        scored = _shares(measured).join(of, on="what").with_columns(z=deviations)
        best = scored.sort("z", "what", descending=[True, False]).group_by("row", maintain_order=True).first()
        rows = measured.select(row=pl.int_range(pl.len(), dtype=pl.UInt32))
        return rows.join(best.select("row", segment="what"), on="row", how="left", maintain_order="left")["segment"]


def _shares(measured: pl.DataFrame) -> pl.DataFrame:
    """Return ``row``, ``what`` and its ``share`` of all that the row's user buys."""
    shares = measured.select("value").with_row_index("row").explode("value").unnest("value").drop_nulls("what")
    return shares.with_columns(share=pl.col("times") / pl.col("times").sum().over("row"))
