"""Numbers as words, such as ``spend14``; shared by ``mixed`` and ``rfm``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from segadmin.contracts.textualizer import TextContext
from segadmin.storage.schema import time_literal
from segadmin_plugins.textualizers.words import level

#: The English and the Chinese name of each number, in order of output. A log of purchases only has eight of them, about
#: 22 word pieces of MiniLM, so truncation at 64 tokens never removes them.
FIGURES: dict[str, tuple[str, str]] = {
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
#: The fraction of the window, back from its end, that numbers are of.
_RECENT = {0.5: {"spend_half", "visits_half"}, 0.25: {"spend_quarter"}}
#: Microseconds by which a moment that is computed of floats may be too late.
_ROUNDING = 1_000


def figures(events: pl.LazyFrame, context: TextContext, which: Sequence[str] = tuple(FIGURES)) -> pl.LazyFrame:
    """Return one phrase per number; numbers that a user lacks (such as views) are left out."""
    length = context.as_of - context.observed_from
    bought = pl.col("kind") == "purchase"
    half, quarter = (pl.col("at") >= time_literal(context.as_of - length * share) for share in (0.5, 0.25))
    spend = pl.col("price").filter(bought)
    days = (time_literal(context.as_of) - pl.col("at").max()) / timedelta(days=1)
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
    order = {name: position for position, name in enumerate(which)}
    return (
        numbers.unpivot(index="user_key", on=list(which), variable_name="which", value_name="value")
        .filter(pl.col("value").is_not_null(), pl.col("value").is_not_nan())
        .select(
            "user_key",
            position=pl.col("which").replace_strict(order, return_dtype=pl.Int64),
            phrase=pl.col("which").replace_strict({key: names[column] for key, names in FIGURES.items()})
            + level(pl.col("value")),
        )
    )


def figures_change(events: pl.LazyFrame, context: TextContext, which: Sequence[str] = tuple(FIGURES)) -> pl.LazyFrame:
    """Return when a number of :func:`figures` may next be another one by time alone: ``user_key``, ``next_change``."""
    now, length = time_literal(context.as_of), context.as_of - context.observed_from
    shares = [share for share, names in _RECENT.items() if names & set(which)]
    leaves = [pl.col("at") + (length * share + timedelta(microseconds=1)) for share in shares]
    days = (now - pl.col("at").max()) / timedelta(days=1)
    steps = (2.0 * (1.0 + days).log(2.0)).floor() + 1  # see ``level``
    until = ((2.0 ** (steps / 2) - 1.0) * (86_400 * 1e6)).cast(pl.Int64) - _ROUNDING
    grows = pl.max_horizontal(pl.col("at").max() + until.cast(pl.Duration("us")), now + timedelta(microseconds=1))
    left = [pl.when(moment > now).then(moment).min() for moment in leaves]
    change = pl.min_horizontal(*([grows] if "recency" in which else []), *left)
    return events.group_by("user_key").agg(next_change=change)


def _or_none(number: pl.Expr) -> pl.Expr:
    return pl.when(number > 0).then(number)
