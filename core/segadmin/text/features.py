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
    keyed = events.select(
        "user_key", "at", "kind", "price", "quantity", "rating", "duration", "category", item=pl.col("item").hash()
    )
    items = keyed.group_by("user_key").agg(items=pl.col("item").n_unique())
    together = _by_visit(keyed, window).join(items, on="user_key").join(_by_category(keyed, recipe), on="user_key")
    names = feature_names(recipe)
    return together.select("user_key", features=pl.concat_list(pl.col(name).cast(pl.Float32) for name in names))


def _by_visit(events: pl.LazyFrame, window: Window) -> pl.LazyFrame:
    """Return what visits and sums tell; the events of a visit are put together first, for there are many."""
    visits = events.group_by("user_key", "at").agg(
        pl.col("price").filter(pl.col("kind") == "purchase").sum().alias("spend"),
        pl.col("quantity", "rating", "duration").sum(),
        ratings=pl.col("rating").count(),
        **{f"{kind}_events": (pl.col("kind") == kind).sum() for kind in KINDS},
    )
    length = window.as_of - window.observed_from
    recent = {part: pl.col("at") >= window.as_of - length * share for part, share in _RECENT}
    return visits.group_by("user_key").agg(
        recency_days=(window.as_of - pl.col("at").max()).dt.total_seconds() / 86_400,
        tenure_days=(window.as_of - pl.col("at").min()).dt.total_seconds() / 86_400,
        visits=pl.len(),
        spend=pl.col("spend").sum(),
        spend_per_visit=pl.col("spend").sum() / pl.len(),
        quantity=pl.col("quantity").sum(),
        **{f"spend_last_{part}": pl.col("spend").filter(inside).sum() for part, inside in recent.items()},
        **{f"visits_last_{part}": inside.sum() for part, inside in recent.items()},
        **{f"{kind}_events": pl.col(f"{kind}_events").sum() for kind in KINDS},
        rating_mean=pl.when(pl.col("ratings").sum() > 0).then(pl.col("rating").sum() / pl.col("ratings").sum()),
        duration_seconds=pl.col("duration").sum(),
    )


def _by_category(events: pl.LazyFrame, recipe: Recipe) -> pl.LazyFrame:
    """Return how many categories there are, none being one too, and the shares of the recipe's."""
    counts = events.group_by("user_key", "category").len()
    known = pl.col("len").filter(pl.col("category").is_not_null()).sum()
    shares = {name: pl.col("len").filter(pl.col("category") == name).sum() / known for name in recipe.categories}
    return counts.group_by("user_key").agg(
        categories=pl.len(), **{f"share:{name}": pl.when(known > 0).then(share) for name, share in shares.items()}
    )
