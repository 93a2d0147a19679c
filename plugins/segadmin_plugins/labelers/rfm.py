"""``rfm``: the classic segments by recency, frequency and monetary value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import polars as pl

from segadmin.contracts.labeler import Labeler, Labelled
from segadmin.errors import DataError
from segadmin.labels.label_sets import after
from segadmin.storage.schema import TIME


@dataclass(frozen=True)
class Rfm(Labeler):
    """Segments by terciles of recency, frequency and monetary value in the last ``window_days``.

    champion: recent, frequent, high spend · loyal: recent, frequent · new: recent, infrequent · at-risk: frequent, not
    recent · lost: long ago, infrequent · regular: the others. These labels are weak, as those of ``rules`` are.
    """

    name: ClassVar[str] = "rfm"
    window_days: float = 112.0

    segments: ClassVar[tuple[str, ...]] = ("champion", "loyal", "regular", "new", "at-risk", "lost")

    def label(self, events: pl.LazyFrame) -> Labelled:
        """Return the users of the window that ends with the newest event; see ``Labeler.label``."""
        latest = events.select(pl.col("at").max()).collect().item()
        if latest is None:
            raise DataError("There are no events to label by.")
        as_of = after(latest)
        observed_from = as_of - timedelta(days=self.window_days)
        bought = events.filter(pl.col("kind") == "purchase", pl.col("at") >= observed_from)
        at = pl.col("at")
        numbers = bought.group_by("user_key").agg(r=at.max(), f=at.n_unique(), m=pl.col("price").sum())
        rows = numbers.with_columns(_third(name) for name in "rfm").with_columns(segment=_segment()).collect()
        present = set(rows["segment"].unique())
        return Labelled(
            rows=rows.select(
                "user_key",
                "segment",
                observed_from=pl.lit(observed_from, dtype=TIME),
                as_of=pl.lit(as_of, dtype=TIME),
                outcome_until=pl.lit(as_of, dtype=TIME),
            ),
            segments=tuple(name for name in self.segments if name in present),
            definition={"window_days": self.window_days},
        )


def _third(name: str) -> pl.Expr:
    """Return the tercile of each user, 1, 2 or 3; ties go to the lower one."""
    share = pl.col(name).rank("min") / pl.len()
    return pl.when(share <= 1 / 3).then(1).when(share <= 2 / 3).then(2).otherwise(3).alias(name)


def _segment() -> pl.Expr:
    r, f, m = (pl.col(name) for name in "rfm")
    return (
        pl.when((r == 3) & (f == 3) & (m == 3))
        .then(pl.lit("champion"))
        .when((r == 3) & (f == 3))
        .then(pl.lit("loyal"))
        .when((r == 3) & (f == 1))
        .then(pl.lit("new"))
        .when((r < 3) & (f == 3))
        .then(pl.lit("at-risk"))
        .when((r == 1) & (f == 1))
        .then(pl.lit("lost"))
        .otherwise(pl.lit("regular"))
    )
