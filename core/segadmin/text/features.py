"""Numeric features: one vector per user, from the same window as the text."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segadmin.contracts.event_kinds import KINDS
from segadmin.events.extras import amount, names_of
from segadmin.events.items import FACET, facet
from segadmin.storage.schema import time_literal
from segadmin.text.recipe import Recipe, Window

#: Fractions of the window, back from its end, whose spend, visits and brands are separate features.
_RECENT_PARTS = (("quarter", 0.25), ("half", 0.5))
#: Minimum and maximum share of events that use an extra, for its uses to be a feature.
_MIN_USED, _MAX_USED = 0.0005, 0.9
#: Minimum and maximum number of distinct values of an item extra, for it to be a facet.
_MIN_VALUES, _MAX_VALUES = 2, 64
_NUMBERS = (
    "recency_days",
    "tenure_days",
    "visits",
    "spend",
    "spend_per_visit",
    "items",
    "categories",
    "quantity",
    *(f"{what}_last_{part}" for part, _ in _RECENT_PARTS for what in ("spend", "visits")),
    *(f"{kind}_events" for kind in KINDS),
    "rating_mean",
    "duration_seconds",
)


def feature_names(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the features, in order: the fixed ones, then those of the recipe."""
    return (
        *_NUMBERS,
        *(f"spend_part_{part}" for part in range(1, recipe.parts + 1)),
        *(f"share:{category}" for category in recipe.categories),
        *(f"brand:{brand}" for brand in recipe.brands),
        *(f"brand_last_{part}:{brand}" for part, _ in _RECENT_PARTS for brand in recipe.recent_brands),
        *(f"{FACET}{extra}:{value}" for extra, values in recipe.facets.items() for value in values),
        *(f"uses:{extra}" for extra in recipe.uses),
        *(f"word:{word}" for word in recipe.words),
    )


def commonest(events: pl.LazyFrame, items: pl.LazyFrame, what: str, n: int) -> tuple[str, ...]:
    """Return the ``n`` values of the item column ``what`` with the most users among ``events``, the training events."""
    counts = (
        events.join(items.select("item", what), on="item", how="inner")
        .filter(pl.col(what).is_not_null())
        .group_by(what)
        .agg(pl.col("user_key").n_unique().alias("users"))
        .sort("users", what, descending=[True, False])
        .limit(n)
        .collect()
    )
    return tuple(counts[what].to_list())


def item_facets(items: pl.LazyFrame) -> tuple[str, ...]:
    """Return the item extras with few distinct values, such as a department, by which a shop groups its items."""
    extras = items.select("extras").drop_nulls().collect()["extras"]
    values = extras.to_frame().select(facet(name).n_unique() for name in names_of(extras))
    return tuple(
        name.removeprefix(FACET) for name in values.columns if _MIN_VALUES <= values[name].item() <= _MAX_VALUES
    )


def used_extras(events: pl.DataFrame) -> tuple[str, ...]:
    """Return the extras that are sometimes above 0 in ``events``, the training events, such as a coupon's value.

    An extra that is nearly always above 0 (the number of a basket), or nearly never, is not informative.
    """
    fields = names_of(events["extras"].drop_nulls())
    shares = events.select((amount(name) > 0).mean().alias(name) for name in fields)
    return tuple(name for name in fields if _MIN_USED < (shares[name].item() or 0) < _MAX_USED)


def features(events: pl.LazyFrame, window: Window, recipe: Recipe) -> pl.LazyFrame:
    """Return ``user_key`` and ``features`` (List[Float32], in the order of :func:`feature_names`).

    Args:
        events: inside ``window``, with the items' ``category``, ``brand`` and the recipe's facets, and ``words`` if
            their shares are features.
        window: its end is the reference of the recency and of the recent parts.
        recipe: the categories, brands, facets and words whose shares are features, and the extras whose uses are.

    An undefined number (a mean rating without ratings) is null. Events at the same time are one visit.
    """
    keyed = events.select(
        *("user_key", "at", "kind", "price", "quantity", "rating", "duration", "category", "brand"),
        *(FACET + extra for extra in recipe.facets),
        *((amount(extra) > 0).fill_null(False).alias(f"uses:{extra}") for extra in recipe.uses),
        item=pl.col("item").hash(),
    )
    by_item = keyed.group_by("user_key").agg(
        items=pl.col("item").n_unique(), **{f"uses:{extra}": pl.col(f"uses:{extra}").sum() for extra in recipe.uses}
    )
    joined = _by_visit(keyed, window, recipe.parts)
    recent = _in_recent_parts(window).items()
    groups = (
        (keyed, "brand", recipe.brands, "brand"),
        *((keyed.filter(inside), "brand", recipe.recent_brands, f"brand_last_{part}") for part, inside in recent),
        *((keyed, FACET + extra, values, FACET + extra) for extra, values in recipe.facets.items()),
    )
    shares = (_by_value(selected, column, values, kind) for selected, column, values, kind in groups if values)
    for other in (by_item, _by_category(keyed, recipe), *shares):
        joined = joined.join(other, on="user_key", how="left")
    if recipe.words:
        joined = joined.join(_by_word(events, recipe.words), on="user_key", how="left")
    names = feature_names(recipe)
    return joined.select("user_key", features=pl.concat_list(pl.col(name).cast(pl.Float32) for name in names))


def _by_visit(events: pl.LazyFrame, window: Window, parts: int) -> pl.LazyFrame:
    """Return the features of visits and sums; events are first aggregated by visit, which is faster."""
    visits = events.group_by("user_key", "at").agg(
        pl.col("price").filter(pl.col("kind") == "purchase").sum().alias("spend"),
        pl.col("quantity", "rating", "duration").sum(),
        ratings=pl.col("rating").count(),
        **{f"{kind}_events": (pl.col("kind") == kind).sum() for kind in KINDS},
    )
    as_of, recent = time_literal(window.as_of), _in_recent_parts(window)
    return visits.group_by("user_key").agg(
        recency_days=(as_of - pl.col("at").max()).dt.total_seconds() / 86_400,
        tenure_days=(as_of - pl.col("at").min()).dt.total_seconds() / 86_400,
        visits=pl.len(),
        spend=pl.col("spend").sum(),
        spend_per_visit=pl.col("spend").sum() / pl.len(),
        quantity=pl.col("quantity").sum(),
        **{f"spend_last_{part}": pl.col("spend").filter(inside).sum() for part, inside in recent.items()},
        **{f"visits_last_{part}": inside.sum() for part, inside in recent.items()},
        **{f"{kind}_events": pl.col(f"{kind}_events").sum() for kind in KINDS},
        **_by_part(window, parts),
        rating_mean=pl.when(pl.col("ratings").sum() > 0).then(pl.col("rating").sum() / pl.col("ratings").sum()),
        duration_seconds=pl.col("duration").sum(),
    )


def _by_part(window: Window, parts: int) -> dict[str, pl.Expr]:
    """Return the spend in each of ``parts`` equal parts of the window."""
    if not parts:
        return {}
    length = window.as_of - window.observed_from
    part = ((pl.col("at") - time_literal(window.observed_from)) / length * parts).floor() + 1
    return {f"spend_part_{n}": pl.col("spend").filter(part == n).sum() for n in range(1, parts + 1)}


def _in_recent_parts(window: Window) -> dict[str, pl.Expr]:
    """Return, for each recent part of the window, whether an event is in it."""
    length = window.as_of - window.observed_from
    return {part: pl.col("at") >= time_literal(window.as_of - length * share) for part, share in _RECENT_PARTS}


def _by_category(events: pl.LazyFrame, recipe: Recipe) -> pl.LazyFrame:
    """Return the number of categories (null counts as one) and the shares of the recipe's categories."""
    shares = _shares("category", "share", recipe.categories)
    return events.group_by("user_key", "category").len().group_by("user_key").agg(*shares, categories=pl.len())


def _by_word(events: pl.LazyFrame, words: Sequence[str]) -> pl.LazyFrame:
    """Return for each word the share of a user's events whose item has it, among events of items with words."""
    counts = events.filter(pl.col("words").is_not_null()).group_by("user_key", "words").len()
    spaced = pl.format(" {} ", "words")
    has_word = {word: spaced.str.contains(f" {word} ", literal=True) for word in words}
    return counts.group_by("user_key").agg(
        **{f"word:{word}": pl.col("len").filter(has).sum() / pl.col("len").sum() for word, has in has_word.items()}
    )


def _by_value(events: pl.LazyFrame, column: str, values: Sequence[str], kind: str) -> pl.LazyFrame:
    """Return the shares of the ``values`` of a column as features ``kind:value``."""
    return events.group_by("user_key", column).len().group_by("user_key").agg(_shares(column, kind, values))


def _shares(column: str, kind: str, names: Sequence[str]) -> list[pl.Expr]:
    """Return, from counts in ``len`` by user and ``column``, the share of each of ``names`` among non-null values."""
    total = pl.col("len").filter(pl.col(column).is_not_null()).sum()
    shares = ((name, pl.col("len").filter(pl.col(column) == name).sum() / total) for name in names)
    return [pl.when(total > 0).then(share).alias(f"{kind}:{name}") for name, share in shares]
