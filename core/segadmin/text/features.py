"""The numbers beside the text: a small vector a user, from the same window."""

from __future__ import annotations

import polars as pl

from segadmin.events.kinds import KINDS
from segadmin.text.recipe import Recipe, Window

#: Parts of the window, counted back from its end, whose spend and visits are features of their own.
_RECENT = (("quarter", 0.25), ("half", 0.5))
_NUMBERS = (
    "recency_days",
    "tenure_days",
    "visits",
    "spend",
    "spend_per_visit",
    "items",
    "categories",
    "quantity",
    *(f"{what}_last_{part}" for part, _ in _RECENT for what in ("spend", "visits")),
    *(f"{kind}_events" for kind in KINDS),
    "rating_mean",
    "duration_seconds",
)


def feature_names(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the features, in order: the numbers, then the share of each of the recipe's categories."""
    return (*_NUMBERS, *(f"share:{category}" for category in recipe.categories))


def top_categories(events: pl.LazyFrame, items: pl.LazyFrame, n: int = 24) -> tuple[str, ...]:
    """Return the ``n`` categories that most users have events in, for a recipe; call it on training data only."""
    counted = (
        events.join(items.select("item", "category"), on="item", how="inner")
        .filter(pl.col("category").is_not_null())
        .group_by("category")
        .agg(pl.col("user_key").n_unique().alias("users"))
        .sort("users", "category", descending=[True, False])
        .limit(n)
        .collect()
    )
    return tuple(counted["category"].to_list())


def features(events: pl.LazyFrame, window: Window, recipe: Recipe) -> pl.LazyFrame:
    """Return ``user_key`` and ``features`` (List[Float32], in the order of :func:`feature_names`).

    Args:
        events: inside ``window``, with the items' ``category``.
        window: what the recency and the recent parts are counted back from.
        recipe: says which categories' shares to take.

    A number that does not exist (a mean rating without ratings) is null. Times of day count as one visit each.
    """
    bought = pl.col("kind") == "purchase"
    spend = pl.col("price").filter(bought)
    length = window.as_of - window.observed_from
    recent = {part: pl.col("at") >= window.as_of - length * share for part, share in _RECENT}
    numbers = events.group_by("user_key").agg(
        recency_days=(window.as_of - pl.col("at").max()).dt.total_seconds() / 86_400,
        tenure_days=(window.as_of - pl.col("at").min()).dt.total_seconds() / 86_400,
        visits=pl.col("at").n_unique(),
        spend=spend.sum(),
        spend_per_visit=spend.sum() / pl.col("at").n_unique(),
        items=pl.col("item").n_unique(),
        categories=pl.col("category").n_unique(),
        quantity=pl.col("quantity").sum(),
        **{
            f"{what}_last_{part}": pl.col("price").filter(bought & inside).sum()
            if what == "spend"
            else pl.col("at").filter(inside).n_unique()
            for part, inside in recent.items()
            for what in ("spend", "visits")
        },
        **{f"{kind}_events": (pl.col("kind") == kind).sum() for kind in KINDS},
        rating_mean=pl.col("rating").mean(),
        duration_seconds=pl.col("duration").sum(),
        **{f"share:{name}": (pl.col("category") == name).mean() for name in recipe.categories},
    )
    names = feature_names(recipe)
    return numbers.select("user_key", features=pl.concat_list(pl.col(name).cast(pl.Float32) for name in names))
