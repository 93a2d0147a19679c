"""``rfm``: recency, frequency and monetary value as words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin_plugins.textualizers.figures import figures, figures_change

_FIGURES = ("recency", "visits", "spend", "basket")


@dataclass(frozen=True)
class Rfm(Textualizer):
    """``away6 visits8 spend17 basket11``: the classic three and the spend of a visit, as words."""

    name: ClassVar[str] = "rfm"

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return up to four phrases a user."""
        return figures(events, context, _FIGURES)

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return when the bucket of the recency is another one."""
        return figures_change(events, context, _FIGURES)
