"""``reviews``: the reviews and ratings of a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.words import ago, ago_change, earliest, latest_first, newest, number, thing


@dataclass(frozen=True)
class Reviews(Textualizer):
    """Ratings and reviews, newest first: ``rated travel lamp 4 stars yesterday: great quality``.

    A user who did something, but wrote and rated nothing, reads as ``no reviews``.
    """

    name: ClassVar[str] = "reviews"
    version: ClassVar[str] = "2"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "review": {
            "en": "reviewed {item} {ago}[, {stars} stars][: {text}]",
            "zh": "{ago}评价{item}[{stars}星][：{text}]",
        },
        "none": {"en": "no reviews", "zh": "没有评价"},
    }
    limit: int = 12  #: newest ratings and reviews of a user
    characters: int = 160  #: a longer text is cut

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a phrase for each of a user's newest ratings and reviews."""
        text = pl.col("text").str.replace_all(r"\s+", " ").str.strip_chars().str.slice(0, self.characters)
        text = pl.when(text != "").then(text)
        opinions = events.filter(pl.col("rating").is_not_null() | pl.col("text").is_not_null())
        parts = {
            "item": thing(context.language),
            "ago": ago(pl.col("at"), context.as_of, context.language),
            "stars": number(pl.col("rating")),
            "text": text,
        }
        written = newest(opinions, self.limit, latest_first(context)).select(
            "user_key", "position", phrase=self.say(context, "review", **parts)
        )
        wrote_any = events.group_by("user_key").agg(
            wrote=(pl.col("rating").is_not_null() | pl.col("text").is_not_null()).any()
        )
        none = wrote_any.filter(~pl.col("wrote")).select(
            "user_key", position=pl.lit(0, pl.Int64), phrase=self.say(context, "none")
        )
        return pl.concat([written, none])

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return when the words for how long ago an opinion was given change."""
        opinions = events.filter(pl.col("rating").is_not_null() | pl.col("text").is_not_null())
        return earliest(opinions.select("user_key", next_change=ago_change(pl.col("at"), context.as_of)))
