"""``mixed``: numbers as words, then what a user does by category, then what they did last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.text.textualizer import TextContext, Textualizer
from segadmin_plugins.textualizers.figures import figures
from segadmin_plugins.textualizers.words import category, level, newest, recency, thing, verb


@dataclass(frozen=True)
class Mixed(Textualizer):
    """Numbers as bucket words first (``spend14``), then the top categories, then the newest distinct actions.

    Language models read numbers badly and words well, so each number becomes the name of its bucket: steps of a
    factor of √2, the same everywhere. Numbers come first because they tell most, and what is last is cut first.
    """

    name: ClassVar[str] = "mixed"
    categories: int = 12  #: categories of a user
    recent: int = 24  #: newest distinct actions of a user

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the three groups of phrases, one after the other."""
        groups = (
            figures(events, context),
            _categories(events, context, self.categories),
            _recent(events, context, self.recent),
        )
        return pl.concat(
            group.select("user_key", pl.col("position").cast(pl.Int64) + 1000 * place, "phrase")
            for place, group in enumerate(groups)
        )


def _categories(events: pl.LazyFrame, context: TextContext, limit: int) -> pl.LazyFrame:
    """Return the categories that a user turns to most, with how much and how lately."""
    grouped = events.group_by("user_key", category=category(context.language))
    counted = grouped.agg(times=pl.len(), last=pl.col("at").max())
    order = pl.struct(-pl.col("times").cast(pl.Int64), -pl.col("last").cast(pl.Int64), "category")
    ranked = counted.with_columns(position=order.rank("ordinal").over("user_key"))
    return ranked.filter(pl.col("position") <= limit).select(
        "user_key", "position", phrase=pl.format("{} x{}", "category", level(pl.col("times")))
    )


def _recent(events: pl.LazyFrame, context: TextContext, limit: int) -> pl.LazyFrame:
    """Return a user's newest distinct actions, with how long ago they were."""
    named = events.select("user_key", "kind", "at", item=thing(context.language))
    once = named.group_by("user_key", "kind", "item").agg(pl.col("at").max())
    form = "{}{}{}" if context.language == "zh" else "{} {} {}"
    ago = recency(pl.col("at"), context.as_of, context.language)
    said = (ago, verb(context.language), "item") if context.language == "zh" else (verb(context.language), "item", ago)
    return newest(once, limit).select("user_key", "position", phrase=pl.format(form, *said))
