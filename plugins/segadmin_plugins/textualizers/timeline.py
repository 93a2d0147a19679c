"""``timeline``: one sentence per event, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin_plugins.textualizers.words import latest_first, moment, never, newest, number, verb

#: The verb of the cart has a second part: put … into the cart.
_DID: dict[Language, dict[str, str]] = {
    "en": {"view": "viewed", "cart": "put", "purchase": "bought", "rating": "rated", "review": "reviewed"}
}


@cache
def _hex() -> pl.Series:
    """Return the four hex digits of every 16-bit number: a lookup is ten times as fast as formatting."""
    return pl.Series([f"{value:04x}" for value in range(1 << 16)])


@dataclass(frozen=True)
class Timeline(Textualizer):
    """One sentence per event, newest first.

    Such as 「浏览记录：用户ID_… 在2022-01-01 00:00浏览了商品ID_456，浏览时长为10分钟」.

    Users appear under their pseudonym (the user key, 16 hex digits) unless ``raw_user_ids`` is set.
    """

    name: ClassVar[str] = "timeline"
    version: ClassVar[str] = "2"
    templates: ClassVar[Mapping[str, Mapping[Language, str]]] = {
        "event": {
            "en": "{kind} record: user {user} {verb} item {item}{into} at {when}"
            "[, for {minutes} minutes][, quantity {quantity}][, amount {price}][, rating {rating}][: {text}]",
            "zh": "{verb}记录：用户ID_{user} 在{when}{verb}了商品ID_{item}"
            "[，浏览时长为{minutes}分钟][，数量{quantity}][，金额{price}元][，评分为{rating}][，内容：{text}]",
        }
    }
    limit: int = 32  #: newest events of a user
    raw_user_ids: bool = False  #: name users by the shop's own ids

    def phrases(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return a sentence for each of a user's newest events."""
        into = pl.lit(" into the cart") if context.language == "en" else pl.lit("")
        parts = {
            "kind": pl.col("kind"),
            "user": pl.col("user") if self.raw_user_ids else _pseudonym(),
            "verb": verb(context, _DID.get(context.language)),
            "item": pl.col("item"),
            "into": pl.when(pl.col("kind") == "cart").then(into),
            "when": moment(pl.col("at")),
            "minutes": number(pl.col("duration") / 60),
            "text": pl.col("text"),
            **{name: number(pl.col(name)) for name in ("quantity", "price", "rating")},
        }
        latest = newest(events, self.limit, latest_first(context))
        return latest.select("user_key", "position", phrase=self.say(context, "event", **parts))

    def next_change(self, events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
        """Return nothing: sentences have dates, which stay."""
        return never()


def _pseudonym() -> pl.Expr:
    """Return the user key as 16 hex digits, as :func:`segadmin.events.keys.show_key` does for one."""
    key = pl.col("user_key").reinterpret(signed=False)
    digits = [(key // (1 << shift)) % (1 << 16) for shift in (48, 32, 16, 0)]
    return pl.concat_str(pl.lit(_hex()).gather(four) for four in digits)
