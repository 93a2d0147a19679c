"""The words that the built-in textualizers share, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Literal, cast

import polars as pl

from segadmin.contracts.templates import VERBS as VERBS_SECTION
from segadmin.contracts.textualizer import TextContext
from segadmin.settings import Language
from segadmin.storage.schema import TIME, time_literal

_DAY = 24 * 60  #: minutes
#: Size of the lookup table of number texts: this many hundredths and this many whole numbers.
_LOOKED_UP = 1 << 17

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
#: Words for how long ago, each with its upper limit in days.
_RECENCY: tuple[tuple[float, str, str], ...] = (
    (3, "now", "刚刚"),
    (7, "this week", "一周内"),
    (14, "last week", "两周内"),
    (30, "this month", "一月内"),
    (60, "last month", "两月内"),
)
_LONG_AGO = {"en": "long ago", "zh": "很久前"}
#: The days after which :func:`ago` has other words.
_AGO_DAYS = (*range(1, 8), 14, 21, 28, *range(30, 361, 30), 365)


def verbs(context: TextContext, default: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the verb of each kind: from the template file, else ``default``, else :data:`VERBS`."""
    usual = default or VERBS[context.language]
    return {kind: context.templates.get(f"{VERBS_SECTION}.{kind}", (word,))[0] for kind, word in usual.items()}


def verb(context: TextContext, default: Mapping[str, str] | None = None) -> pl.Expr:
    """Return the verb of an event."""
    return _replaced("kind", tuple(verbs(context, default).items()))


@lru_cache(maxsize=64)
def _replaced(column: str, words: tuple[tuple[str, str], ...]) -> pl.Expr:
    return pl.col(column).replace_strict(dict(words), default=pl.col(column))


@cache
def thing(language: Language) -> pl.Expr:
    """Return the name of an item: its title, else its category, else its id."""
    named = pl.coalesce("title", "category").str.to_lowercase()
    unnamed = pl.format("商品ID_{}" if language == "zh" else "item {}", "item")
    return pl.coalesce(named, unnamed)


@cache
def category(language: Language) -> pl.Expr:
    """Return the category of an item, or its name if it has none."""
    return pl.coalesce(pl.col("category").str.to_lowercase(), thing(language))


def group_name(by: Literal["category", "item"], language: Language) -> pl.Expr:
    """Return the key to group events by: the categories or the names of items."""
    return category(language) if by == "category" else thing(language)


def level(number: pl.Expr) -> pl.Expr:
    """Return the bucket of a number as a word part: each step is a factor of √2, so no fit is needed."""
    magnitude = (2.0 * (1.0 + number.fill_null(0.0).abs()).log(2.0)).floor().cast(pl.Int64)
    return pl.when(number < 0).then(-magnitude).otherwise(magnitude).cast(pl.String)


def about(count: pl.Expr) -> pl.Expr:
    """Return a count, exact up to 5 and in steps of a factor of √2 beyond, so that phrases repeat."""
    steps = (2.0 ** (count.log(2.0) * 2).floor().truediv(2)).round(0).cast(pl.Int64)
    return pl.when(count <= 5).then(count).otherwise(steps).cast(pl.String)


def recency(last: pl.Expr, as_of: datetime, language: Language) -> pl.Expr:
    """Return how long before ``as_of`` an event was, as a word."""
    days = (time_literal(as_of) - last).dt.total_seconds() / 86_400
    words = [
        pl.when(days <= limit).then(pl.lit(chinese if language == "zh" else english))
        for limit, english, chinese in _RECENCY
    ]
    return pl.coalesce(*words, pl.lit(_LONG_AGO[language]))


def recency_change(last: pl.Expr, as_of: datetime) -> pl.Expr:
    """Return when after ``as_of`` the word of :func:`recency` is another one; null: never."""
    limits = [timedelta(days=limit, seconds=1) for limit, _, _ in _RECENCY]  # it counts whole seconds
    return _next_of(last, limits, as_of)


def ago_change(last: pl.Expr, as_of: datetime) -> pl.Expr:
    """Return when after ``as_of`` the words of :func:`ago` are others; null: never."""
    return _next_of(last, [timedelta(days=days) for days in _AGO_DAYS], as_of)


def earliest(*changes: pl.LazyFrame) -> pl.LazyFrame:
    """Return the earliest ``next_change`` of each user in frames with ``user_key`` and ``next_change``."""
    return pl.concat(changes).group_by("user_key").agg(pl.col("next_change").min())


def never() -> pl.LazyFrame:
    """Return what ``next_change`` returns where time alone changes nothing."""
    return pl.LazyFrame(schema={"user_key": pl.Int64, "next_change": TIME})


def _next_of(last: pl.Expr, limits: Sequence[timedelta], as_of: datetime) -> pl.Expr:
    now = time_literal(as_of)
    return pl.min_horizontal(pl.when(last + limit > now).then(last + limit) for limit in limits).cast(TIME)


def ago(last: pl.Expr, as_of: datetime, language: Language) -> pl.Expr:
    """Return how long before ``as_of`` an event was, in days if it is recent: ``yesterday``, 3天前.

    Phrases with such a word repeat across users; phrases with a date do not.
    """
    days = ((time_literal(as_of) - last).dt.total_seconds() / 86_400).floor().cast(pl.Int64)
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


def latest_first(context: TextContext) -> pl.Expr:
    """Return a sort key, newest event first: one number, which sorts twice as fast as two."""
    latest = (-pl.col("at").to_physical()).cast(pl.Int128)
    return latest * (1 << 64) + context.shuffled(pl.col("event_id")).cast(pl.Int128)


def newest(events: pl.LazyFrame, limit: int, order: pl.Expr) -> pl.LazyFrame:
    """Return each user's newest ``limit`` events, without sorting the whole log; ``position`` 0 is the newest.

    Most events are filtered out by time alone, which takes half as long as ranking; only the remaining ones, ties
    included, are ranked.

    Args:
        events: with ``user_key`` and ``at``.
        limit: events to keep per user.
        order: sort key, unique per user, so that the ranks do not depend on the order of the rows.
    """
    late = events.filter(pl.col("at") >= pl.col("at").top_k(limit).min().over("user_key"))
    rank = order.rank("ordinal").over("user_key").cast(pl.Int64) - 1
    return late.with_columns(position=rank).filter(pl.col("position") < limit)


def newest_of_each(events: pl.LazyFrame, limit: int) -> pl.LazyFrame:
    """Return each user's newest ``limit`` kinds and items, each once, with the time of its last event."""
    latest = events.group_by("user_key", "kind", "item").agg(pl.col("at").max())
    return newest(latest, limit, pl.struct(-pl.col("at").to_physical(), "item", "kind"))


def moment(at: pl.Expr) -> pl.Expr:
    """Return a time as ``2022-01-29 18:05``; days and minutes are looked up, three times as fast as formatting."""
    return at.map_batches(_moments, return_dtype=pl.String, is_elementwise=True)


def number(value: pl.Expr) -> pl.Expr:
    """Return a number, rounded to hundredths, without a trailing ``.0``."""
    return value.map_batches(_numbers, return_dtype=pl.String, is_elementwise=True)


def _moments(at: pl.Series) -> pl.Series:
    if at.null_count() == len(at):
        return _nulls(at)
    minutes = at.dt.timestamp("us") // 60_000_000
    days = minutes // _DAY
    first = cast("int", days.min())
    names = pl.int_range(first, cast("int", days.max()) + 1, eager=True).cast(pl.Date).dt.to_string("%Y-%m-%d ")
    return names.gather(days - first) + _minutes().gather(minutes - days * _DAY)


def _numbers(values: pl.Series) -> pl.Series:
    if values.null_count() == len(values):
        return _nulls(values)
    index = (values * 100).round()
    whole = index / 100
    if index.max() >= _LOOKED_UP:  # type: ignore[operator]
        whole_index = pl.when(whole == whole.floor()).then(whole + _LOOKED_UP)
        index = pl.select(pl.when(index < _LOOKED_UP).then(index).otherwise(whole_index)).to_series()
    in_table = index.is_between(0, 2 * _LOOKED_UP - 1)
    if in_table.sum() + values.null_count() < len(values):
        return whole.cast(pl.String).str.strip_suffix(".0").replace("-0", "0")
    return _number_texts().gather(index.cast(pl.UInt32))


def _nulls(values: pl.Series) -> pl.Series:
    return pl.Series(values.name, [None], dtype=pl.String).new_from_index(0, len(values))


@cache
def _minutes() -> pl.Series:
    return pl.Series([f"{minute // 60:02}:{minute % 60:02}" for minute in range(_DAY)])


@cache
def _number_texts() -> pl.Series:
    """Return the texts of :data:`_LOOKED_UP` hundredths, then of as many whole numbers."""
    up = pl.int_range(_LOOKED_UP, eager=True)
    return pl.concat([up / 100, up.cast(pl.Float64)]).cast(pl.String).str.strip_suffix(".0")
