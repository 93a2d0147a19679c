"""``timeline``: a sentence an event, newest first; the classic form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import polars as pl

from segadmin.text.textualizer import TextContext, Textualizer
from segadmin_plugins.textualizers.words import newest, number, verb


@cache
def _hex() -> pl.Series:
    """Return the four hex digits of every 16-bit number: looked up, they are ten times as fast as made."""
    return pl.Series([f"{value:04x}" for value in range(1 << 16)])


@dataclass(frozen=True)
class Timeline(Textualizer):
    """A sentence an event, newest first.

    Such as 「浏览记录：用户ID_… 在2022-01-01 00:00浏览了商品ID_456，浏览时长为10分钟」.

    Users appear under their pseudonym (the user key, 16 hex digits) unless ``raw_user_ids`` is set.
    """

    name: ClassVar[str] = "timeline"
    limit: int = 32  #: newest events of a user
    raw_user_ids: bool = False  #: name users by the shop's own ids

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a sentence for each of a user's newest events."""
        user = pl.col("user") if self.raw_user_ids else _pseudonym()
        say = _chinese if context.language == "zh" else _english
        told = newest(events, self.limit).with_columns(
            who=user, when=pl.col("at").dt.strftime("%Y-%m-%d %H:%M"), minutes=number(pl.col("duration") / 60)
        )
        return told.select("user_key", "position", phrase=say())


def _pseudonym() -> pl.Expr:
    """Return the user key as 16 hex digits, as :func:`segadmin.events.keys.show_key` does for one."""
    key = pl.col("user_key").reinterpret(signed=False)
    digits = [(key // (1 << shift)) % (1 << 16) for shift in (48, 32, 16, 0)]
    return pl.concat_str(pl.lit(_hex()).gather(four) for four in digits)


def _chinese() -> pl.Expr:
    word = verb("zh")
    sentence = pl.format("{}记录：用户ID_{} 在{}{}了商品ID_{}", word, "who", "when", word, "item")
    return pl.concat_str(
        sentence,
        pl.format("，浏览时长为{}分钟", "minutes"),
        pl.format("，数量{}", number(pl.col("quantity"))),
        pl.format("，金额{}元", number(pl.col("price"))),
        pl.format("，评分为{}", number(pl.col("rating"))),
        pl.format("，内容：{}", "text"),
        ignore_nulls=True,  # what the event lacks is left out
    )


def _english() -> pl.Expr:
    did = {"view": "viewed", "cart": "put", "purchase": "bought", "rating": "rated", "review": "reviewed"}
    word = pl.col("kind").replace_strict(did, default=pl.col("kind"))
    into = pl.when(pl.col("kind") == "cart").then(pl.lit(" into the cart")).otherwise(pl.lit(""))
    return pl.concat_str(
        pl.format("{} record: user {} {} item {}{} at {}", "kind", "who", word, "item", into, "when"),
        pl.format(", for {} minutes", "minutes"),
        pl.format(", quantity {}", number(pl.col("quantity"))),
        pl.format(", amount {}", number(pl.col("price"))),
        pl.format(", rating {}", number(pl.col("rating"))),
        pl.format(": {}", "text"),
        ignore_nulls=True,
    )
