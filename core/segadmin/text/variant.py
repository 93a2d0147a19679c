"""Variants: copies of training rows that say the same otherwise, so that a model does not learn them by heart.

A copy leaves some events out, says with other templates what a template file has several for, and orders what is of
one moment otherwise. Made again, it is the same copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Variant:
    """One copy, or, numbered 0, the text as it is scored."""

    number: int = 0
    drop_events: float = 0.0  #: share of the events to leave out

    def some_of(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Return the events of this variant."""
        if not self.number or not self.drop_events:
            return events
        chance = pl.col("event_id").hash(seed=self.number) % 1_000_000
        return events.filter(chance >= round(self.drop_events * 1_000_000))

    @property
    def order(self) -> pl.Expr:
        """What orders phrases of one position."""
        return pl.col("phrase").hash(seed=self.number) if self.number else pl.col("phrase")


CANONICAL = Variant()
