"""``summary``: what a user does by category: how often, and when last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.words import about, earliest, group_name, recency, recency_change, verb


@dataclass(frozen=True)
class Summary(Textualizer):
    """Aggregates by kind and category, the most frequent first: ``bought cheese 11 times, last this week``.

    Counts are given exactly up to 5 and in steps beyond, so that phrases repeat across users.
    """

    name: ClassVar[str] = "summary"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "aggregate": {
            "en": "{verb} {category} {times} times, last {recency}",
            "zh": "{verb}{category}共{times}次，最近{recency}",
        }
    }
    limit: int = 24  #: aggregates of a user
    by: Literal["category", "item"] = "category"

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a phrase for each of a user's most frequent kinds and categories."""
        grouped = events.group_by("user_key", "kind", category=group_name(self.by, context.language))
        counted = grouped.agg(times=pl.len(), last=pl.col("at").max())
        order = pl.struct(-pl.col("times").cast(pl.Int64), -pl.col("last").cast(pl.Int64), "category", "kind")
        ranked = counted.with_columns(position=order.rank("ordinal").over("user_key").cast(pl.Int64) - 1)
        phrase = self.say(
            context,
            "aggregate",
            verb=verb(context),
            category=pl.col("category"),
            times=about(pl.col("times")),
            recency=recency(pl.col("last"), context.as_of, context.language),
        )
        return ranked.filter(pl.col("position") < self.limit).select("user_key", "position", phrase=phrase)

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return when the recency word of a kind and a category changes."""
        by = group_name(self.by, context.language)
        last = events.group_by("user_key", "kind", category=by).agg(pl.col("at").max())
        return earliest(last.select("user_key", next_change=recency_change(pl.col("at"), context.as_of)))
