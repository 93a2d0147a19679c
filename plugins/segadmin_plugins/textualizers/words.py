"""The words that the built-in textualizers share, in English and in Chinese."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import polars.selectors as cs

from segadmin.settings import Language

#: What tells events of one moment, item and kind apart: the same events must rank alike in whatever order they come.
_TIES = ("quantity", "price", "duration", "rating", "text")

#: Past tense of every kind of event.
VERBS: dict[Language, dict[str, str]] = {
    "en": {
        "view": "viewed",
        "cart": "added to cart",
        "purchase": "bought",
        "rating": "rated",
        "review": "reviewed",
    },
    "zh": {"view": "浏览", "cart": "加购", "purchase": "购买", "rating": "评分", "review": "评论"},
}
#: How long ago, up to so many days.
_RECENCY: tuple[tuple[float, str, str], ...] = (
    (3, "now", "刚刚"),
    (7, "this week", "一周内"),
    (14, "last week", "两周内"),
    (30, "this month", "一月内"),
    (60, "last month", "两月内"),
)
_LONG_AGO = {"en": "long ago", "zh": "很久前"}


def verb(language: Language) -> pl.Expr:
    """Return what the user did, as a word."""
    return pl.col("kind").replace_strict(VERBS[language], default=pl.col("kind"))


def thing(language: Language) -> pl.Expr:
    """Return what an item is called: its title, else its category, else its id."""
    named = pl.coalesce("title", "category").str.to_lowercase()
    unnamed = pl.format("商品ID_{}" if language == "zh" else "item {}", "item")
    return pl.coalesce(named, unnamed)


def category(language: Language) -> pl.Expr:
    """Return the category of an item, or, where it has none, what the item itself is called."""
    return pl.coalesce(pl.col("category").str.to_lowercase(), thing(language))


def level(number: pl.Expr) -> pl.Expr:
    """Return the bucket of a number as a word part: each step is a factor of √2, so nothing must be fitted."""
    magnitude = (2.0 * (1.0 + number.fill_null(0.0).abs()).log(2.0)).floor().cast(pl.Int64)
    return pl.when(number < 0).then(-magnitude).otherwise(magnitude).cast(pl.String)


def about(count: pl.Expr) -> pl.Expr:
    """Return a count as it is up to 5, and beyond in steps of a factor of √2, so that phrases repeat."""
    steps = (2.0 ** (count.log(2.0) * 2).floor().truediv(2)).round(0).cast(pl.Int64)
    return pl.when(count <= 5).then(count).otherwise(steps).cast(pl.String)


def recency(last: pl.Expr, as_of: datetime, language: Language) -> pl.Expr:
    """Return how long before ``as_of`` something was, as a word."""
    days = (as_of - last).dt.total_seconds() / 86_400
    words = [
        pl.when(days <= limit).then(pl.lit(chinese if language == "zh" else english))
        for limit, english, chinese in _RECENCY
    ]
    return pl.coalesce(*words, pl.lit(_LONG_AGO[language]))


def ago(last: pl.Expr, as_of: datetime, language: Language) -> pl.Expr:
    """Return how long before ``as_of`` something was, in days where it is recent: ``yesterday``, 3天前.

    A phrase with such a word repeats from user to user, one with a date does not.
    """
    days = ((as_of - last).dt.total_seconds() / 86_400).floor().cast(pl.Int64)
    zh = language == "zh"
    return (
        pl.when(days < 1)
        .then(pl.lit("今天" if zh else "today"))
        .when(days < 2)
        .then(pl.lit("昨天" if zh else "yesterday"))
        .when(days < 7)
        .then(pl.format("{}天前" if zh else "{} days ago", days))
        .when(days < 14)
        .then(pl.lit("上周" if zh else "last week"))
        .when(days < 30)
        .then(pl.format("{}周前" if zh else "{} weeks ago", days // 7))
        .when(days < 60)
        .then(pl.lit("上个月" if zh else "last month"))
        .when(days < 365)
        .then(pl.format("{}个月前" if zh else "{} months ago", days // 30))
        .otherwise(pl.lit(_LONG_AGO[language]))
    )


def newest(events: pl.LazyFrame, limit: int) -> pl.LazyFrame:
    """Return each user's newest ``limit`` events, without sorting the whole log; ``position`` 0 is the newest.

    Most events are left out by their time alone, which takes a tenth of what ranking them takes; only the rest, and
    what is of the same moment as the last of them, is ranked.
    """
    late = events.filter(pl.col("at") >= pl.col("at").top_k(limit).min().over("user_key"))
    ties = cs.by_name(*_TIES, require_all=False)
    order = pl.struct(-pl.col("at").cast(pl.Int64), "item", "kind", ties)
    rank = order.rank("ordinal").over("user_key") - 1
    return late.with_columns(position=rank.cast(pl.Int64)).filter(pl.col("position") < limit)


def number(value: pl.Expr) -> pl.Expr:
    """Return a number without a needless ``.0``."""
    return value.round(2).cast(pl.String).str.strip_suffix(".0")
