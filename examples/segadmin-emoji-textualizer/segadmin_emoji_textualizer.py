"""What a user did, as emoji: `🛒🛒🛒 cheese` is a category bought often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import polars as pl

import segadmin

EMOJI = {"view": "👀", "cart": "🧺", "purchase": "🛒", "rating": "⭐", "review": "💬"}


@dataclass(frozen=True)
class Emoji(segadmin.Textualizer):
    """A phrase for each kind and category, the most frequent first; five emoji at most."""

    name: ClassVar[str] = "emoji"
    days: int = 112  # only what happened in the last so many days, if anything did

    def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
        """Return one phrase for each of a user's kinds and categories."""
        recent = pl.col("at") >= context.as_of - timedelta(days=self.days)
        events = events.filter(recent | ~recent.any().over("user_key"))
        what = pl.coalesce(pl.col("category").str.to_lowercase(), "item")
        counted = events.group_by("user_key", "kind", what=what).agg(times=pl.len())
        order = pl.struct(-pl.col("times").cast(pl.Int64), "what", "kind")
        emoji = pl.col("kind").replace_strict(EMOJI, default="❔")
        many = pl.concat_str(pl.when(pl.col("times") >= 2**n).then(emoji).otherwise(pl.lit("")) for n in range(5))
        return counted.select(
            "user_key",
            position=order.rank("ordinal").over("user_key"),
            phrase=pl.format("{} {}", many, "what"),
        )


@segadmin.hookimpl
def register_textualizers() -> list[type[segadmin.Textualizer]]:
    """Tell segadmin about it."""
    return [Emoji]
