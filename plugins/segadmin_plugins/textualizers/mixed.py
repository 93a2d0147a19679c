"""``mixed``: numbers as words, then what a user does by category, then what they did last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.figures import figures, figures_change
from segadmin_plugins.textualizers.words import (
    earliest,
    group_name,
    level,
    newest_of_each,
    recency,
    recency_change,
    thing,
    verb,
)


@dataclass(frozen=True)
class Mixed(Textualizer):
    """Numbers as bucket words first (``spend14``), then the top categories, then the newest distinct actions.

    With a modality, the most frequent words of a user's items (``striped-look x5``) follow the categories.

    Language models read numbers badly and words well, so each number becomes the name of its bucket: steps of a
    factor of √2, the same everywhere. Numbers come first because they are most informative and truncation starts at the
    end.
    """

    name: ClassVar[str] = "mixed"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "category": {"en": "{category} x{times}", "zh": "{category} x{times}"},
        "word": {"en": "{word} x{times}", "zh": "{word} x{times}"},
        "action": {"en": "{verb} {item} {recency}", "zh": "{recency}{verb}{item}"},
    }
    categories: int = 12  #: categories of a user
    by: Literal["category", "item"] = "category"  #: ``item``: group by the names of items instead
    recent: int = 24  #: newest distinct actions of a user
    words: int = 12  #: with a modality: most frequent words of a user's items

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the groups of phrases, one after the other."""
        has_words = "words" in events.collect_schema().names()
        groups = (
            figures(events, context),
            self._categories(events, context),
            *([self._words(events, context)] if has_words else []),
            self._recent(events, context),
        )
        return pl.concat(
            group.select("user_key", pl.col("position").cast(pl.Int64) + 1000 * n, "phrase")
            for n, group in enumerate(groups)
        )

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return when a number or a recency word changes."""
        change = recency_change(pl.col("at"), context.as_of)
        words = self._newest(events, context).select("user_key", next_change=change)
        return earliest(figures_change(events, context), words)

    def _categories(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the categories that a user visits most, with their counts."""
        grouped = events.group_by("user_key", category=group_name(self.by, context.language))
        counted = grouped.agg(times=pl.len(), last=pl.col("at").max())
        order = pl.struct(-pl.col("times").cast(pl.Int64), -pl.col("last").cast(pl.Int64), "category")
        ranked = counted.with_columns(position=order.rank("ordinal").over("user_key"))
        phrase = self.say(context, "category", category=pl.col("category"), times=level(pl.col("times")))
        return ranked.filter(pl.col("position") <= self.categories).select("user_key", "position", phrase=phrase)

    def _words(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return the most frequent words of a user's items, with their counts."""
        counted = events.filter(pl.col("words").is_not_null()).group_by("user_key", "words").agg(times=pl.len())
        single = counted.with_columns(word=pl.col("words").str.split(" ")).explode("word")
        by_word = single.group_by("user_key", "word").agg(pl.col("times").sum())
        order = pl.struct(-pl.col("times").cast(pl.Int64), "word")
        ranked = by_word.with_columns(position=order.rank("ordinal").over("user_key"))
        phrase = self.say(context, "word", word=pl.col("word"), times=level(pl.col("times")))
        return ranked.filter(pl.col("position") <= self.words).select("user_key", "position", phrase=phrase)

    def _recent(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a user's newest distinct actions, with how long ago they were."""
        phrase = self.say(
            context,
            "action",
            verb=verb(context),
            item=pl.col("item"),
            recency=recency(pl.col("at"), context.as_of, context.language),
        )
        return self._newest(events, context).select("user_key", "position", phrase=phrase)

    def _newest(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        return newest_of_each(events.with_columns(item=thing(context.language)), self.recent)
