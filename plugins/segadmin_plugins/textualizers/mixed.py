"""``mixed``: numbers as words, then what a user does by category, then what they did last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import polars as pl

from segadmin.text.textualizer import TextContext, Textualizer
from segadmin_plugins.textualizers.words import category, level, newest, recency, thing, verb

#: What each number is called, in the order told. Where there are only purchases, eight are told, in some 22 word
#: pieces of MiniLM: a cut at 64 never reaches them.
_NAMES: dict[str, tuple[str, str]] = {
    "spend_half": ("newspend", "近期消费"),
    "spend": ("spend", "消费"),
    "recency": ("away", "未到访"),
    "visits": ("visits", "到访"),
    "spend_quarter": ("latespend", "最近消费"),
    "visits_half": ("newvisits", "近期到访"),
    "basket": ("basket", "客单"),
    "categories": ("kinds", "品类"),
    "views": ("views", "浏览"),
    "carts": ("carts", "加购"),
    "rating": ("stars", "评分"),
    "minutes": ("minutes", "停留"),
}


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
            _numbers(events, context),
            _categories(events, context, self.categories),
            _recent(events, context, self.recent),
        )
        return pl.concat(
            group.select("user_key", pl.col("position").cast(pl.Int64) + 1000 * place, "phrase")
            for place, group in enumerate(groups)
        )


def _numbers(events: pl.LazyFrame, context: TextContext) -> pl.LazyFrame:
    """Return a phrase a number; those that are nothing for a user (no views, say) are left out."""
    length = context.as_of - context.observed_from
    bought = pl.col("kind") == "purchase"
    half, quarter = (pl.col("at") >= context.as_of - length * share for share in (0.5, 0.25))
    spend = pl.col("price").filter(bought)
    days = (context.as_of - pl.col("at").max()) / timedelta(days=1)
    numbers = events.group_by("user_key").agg(
        spend_half=pl.col("price").filter(bought & half).sum(),
        spend=spend.sum(),
        recency=days,
        visits=pl.col("at").n_unique(),
        spend_quarter=pl.col("price").filter(bought & quarter).sum(),
        visits_half=pl.col("at").filter(half).n_unique(),
        basket=spend.sum() / pl.col("at").filter(bought).n_unique(),
        categories=pl.col("category").n_unique(),
        views=_or_none((pl.col("kind") == "view").sum()),
        carts=_or_none((pl.col("kind") == "cart").sum()),
        rating=pl.col("rating").mean(),
        minutes=_or_none(pl.col("duration").sum() / 60),
    )
    column = 0 if context.language == "en" else 1
    order = {name: place for place, name in enumerate(_NAMES)}
    return (
        numbers.unpivot(index="user_key", on=list(_NAMES), variable_name="which", value_name="value")
        .filter(pl.col("value").is_not_null(), pl.col("value").is_not_nan())
        .select(
            "user_key",
            position=pl.col("which").replace_strict(order, return_dtype=pl.Int64),
            phrase=pl.col("which").replace_strict({key: names[column] for key, names in _NAMES.items()})
            + level(pl.col("value")),
        )
    )


def _or_none(number: pl.Expr) -> pl.Expr:
    return pl.when(number > 0).then(number)


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
