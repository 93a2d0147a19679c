"""Variants: augmented copies of training rows, which reduce overfitting.

A copy omits some events, uses alternative sentences of a template file, and orders events of the same moment
differently. Copies are reproducible.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Variant:
    """An augmented copy, or, with number 0, the text as it is scored."""

    number: int = 0
    drop_events: float = 0.0  #: fraction of the events to omit

    def some_of(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Return the events of this variant."""
        if not self.number or not self.drop_events:
            return events
        chance = pl.col("event_id").hash(seed=self.number) % 1_000_000
        return events.filter(chance >= round(self.drop_events * 1_000_000))

    @property
    def order(self) -> pl.Expr:
        """The sort key of phrases at the same position."""
        return pl.col("phrase").hash(seed=self.number) if self.number else pl.col("phrase")


CANONICAL = Variant()
