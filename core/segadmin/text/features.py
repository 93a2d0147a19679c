"""The numbers beside the text: a small vector a user, from the same window."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segadmin.contracts.event_kinds import KINDS
from segadmin.events.extras import amount, names_of
from segadmin.events.items import FACET, facet
from segadmin.text.recipe import Recipe, Window

#: Parts of the window, counted back from its end, whose spend, visits and brands are features of their own.
_RECENT = (("quarter", 0.25), ("half", 0.5))
#: Shares of events between which an extra counts as used now and then.
_LEAST_USED, _MOST_USED = 0.0005, 0.9
#: Numbers of values between which an extra of the items is a facet, and not one thing for all, or each its own.
_FEWEST_VALUES, _MOST_VALUES = 2, 64
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
    """Return the names of the features, in order: the numbers, then what the recipe names."""
    return (
        *_NUMBERS,
        *(f"spend_part_{part}" for part in range(1, recipe.parts + 1)),
        *(f"share:{category}" for category in recipe.categories),
        *(f"brand:{brand}" for brand in recipe.brands),
        *(f"brand_last_{part}:{brand}" for part, _ in _RECENT for brand in recipe.recent_brands),
        *(f"{FACET}{extra}:{value}" for extra, values in recipe.facets.items() for value in values),
        *(f"uses:{extra}" for extra in recipe.uses),
    )


def commonest(events: pl.LazyFrame, items: pl.LazyFrame, what: str, n: int) -> tuple[str, ...]:
    """Return the ``n`` values of the items' column ``what`` that most users have events with; of training events."""
    counted = (
        events.join(items.select("item", what), on="item", how="inner")
        .filter(pl.col(what).is_not_null())
        .group_by(what)
        .agg(pl.col("user_key").n_unique().alias("users"))
        .sort("users", what, descending=[True, False])
        .limit(n)
        .collect()
    )
    return tuple(counted[what].to_list())


def item_facets(items: pl.LazyFrame) -> tuple[str, ...]:
    """Return the extras of the items that have few values, such as a department: what a shop groups its items by."""
    extras = items.select("extras").drop_nulls().collect()["extras"]
    values = extras.to_frame().select(facet(name).n_unique() for name in names_of(extras))
    return tuple(
        name.removeprefix(FACET) for name in values.columns if _FEWEST_VALUES <= values[name].item() <= _MOST_VALUES
    )


def used_extras(events: pl.DataFrame) -> tuple[str, ...]:
    """Return the extras that are a number above 0 now and then, such as a coupon's value; of training events.

    One that nearly always is (a number of a basket) or nearly never is tells nothing by being counted.
    """
    fields = names_of(events["extras"].drop_nulls())
    shares = events.select((amount(name) > 0).mean().alias(name) for name in fields)
    return tuple(name for name in fields if _LEAST_USED < (shares[name].item() or 0) < _MOST_USED)


def features(events: pl.LazyFrame, window: Window, recipe: Recipe) -> pl.LazyFrame:
    """Return ``user_key`` and ``features`` (List[Float32], in the order of :func:`feature_names`).

    Args:
        events: inside ``window``, with the items' ``category``, ``brand`` and the recipe's facets.
        window: what the recency and the recent parts are counted back from.
        recipe: says which categories', brands' and facets' shares to take, and which extras' uses.

    A number that does not exist (a mean rating without ratings) is null. Times of day count as one visit each.
    """
    keyed = events.select(
        *("user_key", "at", "kind", "price", "quantity", "rating", "duration", "category", "brand"),
        *(FACET + extra for extra in recipe.facets),
        *((amount(extra) > 0).fill_null(False).alias(f"uses:{extra}") for extra in recipe.uses),
        item=pl.col("item").hash(),
    )
    of_items = keyed.group_by("user_key").agg(
        items=pl.col("item").n_unique(), **{f"uses:{extra}": pl.col(f"uses:{extra}").sum() for extra in recipe.uses}
    )
    together = _by_visit(keyed, window, recipe.parts)
    lately = _lately(window).items()
    groups = (
        (keyed, "brand", recipe.brands, "brand"),
        *((keyed.filter(inside), "brand", recipe.recent_brands, f"brand_last_{part}") for part, inside in lately),
        *((keyed, FACET + extra, values, FACET + extra) for extra, values in recipe.facets.items()),
    )
    shares = (_by(some, column, values, kind) for some, column, values, kind in groups if values)
    for more in (of_items, _by_category(keyed, recipe), *shares):
        together = together.join(more, on="user_key", how="left")
    names = feature_names(recipe)
    return together.select("user_key", features=pl.concat_list(pl.col(name).cast(pl.Float32) for name in names))


def _by_visit(events: pl.LazyFrame, window: Window, parts: int) -> pl.LazyFrame:
    """Return what visits and sums tell; the events of a visit are put together first, for there are many."""
    visits = events.group_by("user_key", "at").agg(
        pl.col("price").filter(pl.col("kind") == "purchase").sum().alias("spend"),
        pl.col("quantity", "rating", "duration").sum(),
        ratings=pl.col("rating").count(),
        **{f"{kind}_events": (pl.col("kind") == kind).sum() for kind in KINDS},
    )
    length = window.as_of - window.observed_from
    recent = _lately(window)
    part = ((pl.col("at") - window.observed_from) / length * parts).floor() + 1
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
        **{f"spend_part_{n}": pl.col("spend").filter(part == n).sum() for n in range(1, parts + 1)},
        rating_mean=pl.when(pl.col("ratings").sum() > 0).then(pl.col("rating").sum() / pl.col("ratings").sum()),
        duration_seconds=pl.col("duration").sum(),
    )


def _lately(window: Window) -> dict[str, pl.Expr]:
    """Return whether an event is in the last quarter, and half, of the window."""
    length = window.as_of - window.observed_from
    return {part: pl.col("at") >= window.as_of - length * share for part, share in _RECENT}


def _by_category(events: pl.LazyFrame, recipe: Recipe) -> pl.LazyFrame:
    """Return how many categories there are, none being one too, and the shares of the recipe's."""
    shares = _shares("category", "share", recipe.categories)
    return events.group_by("user_key", "category").len().group_by("user_key").agg(*shares, categories=pl.len())


def _by(events: pl.LazyFrame, column: str, values: Sequence[str], kind: str) -> pl.LazyFrame:
    """Return the shares of the brands, or of a facet's values, as features of this ``kind``."""
    return events.group_by("user_key", column).len().group_by("user_key").agg(_shares(column, kind, values))


def _shares(column: str, kind: str, names: Sequence[str]) -> list[pl.Expr]:
    """Return, of counts in ``len`` by user and ``column``, the share of each of ``names`` among what is known."""
    known = pl.col("len").filter(pl.col(column).is_not_null()).sum()
    each = ((name, pl.col("len").filter(pl.col(column) == name).sum() / known) for name in names)
    return [pl.when(known > 0).then(share).alias(f"{kind}:{name}") for name, share in each]
