"""``reviews``: what a user wrote and how they rated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from segadmin.text.textualizer import TextContext, Textualizer
from segadmin_plugins.textualizers.words import ago, newest, number, thing

_NONE = {"en": "no reviews", "zh": "没有评价"}


@dataclass(frozen=True)
class Reviews(Textualizer):
    """Ratings and reviews, newest first: ``rated travel lamp 4 stars yesterday: great quality``.

    A user who did something, but wrote and rated nothing, reads as ``no reviews``.
    """

    name: ClassVar[str] = "reviews"
    limit: int = 12  #: newest ratings and reviews of a user
    characters: int = 160  #: a longer text is cut

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a phrase for each of a user's newest ratings and reviews."""
        zh = context.language == "zh"
        said = pl.col("text").str.replace_all(r"\s+", " ").str.strip_chars().str.slice(0, self.characters)
        said = pl.when(said != "").then(said)
        told = events.filter(pl.col("rating").is_not_null() | pl.col("text").is_not_null())
        when = ago(pl.col("at"), context.as_of, context.language)
        item = thing(context.language)
        stars = number(pl.col("rating"))
        written = newest(told, self.limit).select(
            "user_key",
            "position",
            phrase=pl.concat_str(
                pl.format("{}评价{}", when, item) if zh else pl.format("reviewed {} {}", item, when),
                pl.format("{}星" if zh else ", {} stars", stars),
                pl.format("：{}" if zh else ": {}", said),
                ignore_nulls=True,
            ),
        )
        silent = events.group_by("user_key").agg(
            wrote=(pl.col("rating").is_not_null() | pl.col("text").is_not_null()).any()
        )
        none = silent.filter(~pl.col("wrote")).select(
            "user_key", position=pl.lit(0, pl.Int64), phrase=pl.lit(_NONE[context.language])
        )
        return pl.concat([written, none])
