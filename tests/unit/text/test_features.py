from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from segadmin.events.items import facet, with_items
from segadmin.text.features import commonest, feature_names, features, item_facets, used_extras
from segadmin.text.recipe import Recipe
from tests.unit.text.rows import AS_OF, events

RECIPE = Recipe(
    textualizer="mixed", textualizer_version="1", window_days=28, categories=("cheese", "wine", "never seen")
)


def measured(*rows: dict[str, object], user: int = 1) -> dict[str, float | None]:
    frame = features(events(*rows).lazy(), RECIPE.window(AS_OF), RECIPE).collect()
    [values] = [row["features"] for row in frame.to_dicts() if row["user_key"] == user]
    return dict(zip(feature_names(RECIPE), values, strict=True))


def test_a_users_numbers_by_hand() -> None:
    def ago(days: float) -> dict[str, object]:
        return {"at": AS_OF - timedelta(days=days)}

    numbers = measured(
        {"kind": "purchase", "item": "1", "category": "cheese", "price": 10.0, "quantity": 2.0, **ago(1)},
        {"kind": "purchase", "item": "2", "category": "wine", "price": 30.0, "quantity": 1.0, **ago(1)},
        {"kind": "purchase", "item": "1", "category": "cheese", "price": 20.0, "quantity": 4.0, **ago(14)},
        {"kind": "view", "item": "3", "price": 99.0, "duration": 60.0, **ago(20)},
        {"kind": "rating", "item": "1", "category": "cheese", "rating": 4.0, **ago(7.5)},
        {"kind": "purchase", "price": 1000.0, "user_key": 2, **ago(2)},
    )
    assert numbers == {
        "recency_days": 1,
        "tenure_days": 20,
        "visits": 4,  # two lines of one moment are one visit
        "spend": 60,  # a price that was only viewed is not spent
        "spend_per_visit": 15,
        "items": 3,
        "categories": 3,  # cheese, wine and none
        "quantity": 7,
        "spend_last_quarter": 40,  # 7 days
        "visits_last_quarter": 1,
        "spend_last_half": 60,  # 14 days, its first moment included
        "visits_last_half": 3,
        "view_events": 1,
        "cart_events": 0,
        "purchase_events": 3,
        "rating_events": 1,
        "review_events": 0,
        "rating_mean": 4,
        "duration_seconds": 60,
        "share:cheese": pytest.approx(3 / 4),  # of events whose category is known
        "share:wine": pytest.approx(1 / 4),
        "share:never seen": 0,
    }


def test_absent_values_are_null_not_zero() -> None:
    numbers = measured({"kind": "view"})
    assert numbers["rating_mean"] is None
    assert numbers["share:cheese"] is None
    assert numbers["spend"] == 0


def test_the_categories_that_most_users_have() -> None:
    seen = [(1, "a"), (1, "a"), (1, "a"), (2, "b"), (3, "b"), (3, "c")]
    frame = pl.LazyFrame(seen, schema=["user_key", "item"], orient="row")
    items = pl.LazyFrame({"item": ["a", "b", "c", "d"], "category": ["cheese", "wine", "tea", None]})
    assert commonest(frame, items, "category", 2) == ("wine", "cheese")


def test_brands_and_uses_by_hand() -> None:
    recipe = RECIPE.model_copy(update={"categories": (), "brands": ("own", "other"), "uses": ("coupon",)})
    rows = [
        {"item": "1", "brand": "own", "extras": '{"coupon":1.5}'},
        {"item": "2", "brand": "own", "extras": '{"coupon":0.0}'},
        {"item": "3", "brand": "third", "extras": '{"coupon":null}'},
        {"item": "4", "extras": None},
    ]
    frame = features(events(*rows).lazy(), recipe.window(AS_OF), recipe).collect()
    named = dict(zip(feature_names(recipe), frame["features"][0].to_list(), strict=True))
    assert named["brand:own"] == pytest.approx(2 / 3)  # of events whose brand is known
    assert named["brand:other"] == 0
    assert named["uses:coupon"] == 1


def test_brands_lately_by_hand() -> None:
    recipe = RECIPE.model_copy(update={"categories": (), "recent_brands": ("own",)})  # of 28 days
    rows = [
        {"item": str(days), "brand": brand, "at": AS_OF - timedelta(days=days)}
        for days, brand in ((1, "own"), (10, "third"), (13, None), (20, "third"))
    ]
    [values] = features(events(*rows).lazy(), recipe.window(AS_OF), recipe).collect()["features"]
    named = dict(zip(feature_names(recipe), values, strict=True))
    assert named["brand_last_quarter:own"] == 1
    assert named["brand_last_half:own"] == 1 / 2, "of events whose brand is known"
    [values] = features(events(*rows[3:]).lazy(), recipe.window(AS_OF), recipe).collect()["features"]
    assert dict(zip(feature_names(recipe), values, strict=True))["brand_last_half:own"] is None


def test_used_extras_are_zero_in_some_rows_only() -> None:
    extras = [f'{{"basket":{n + 1},"coupon":{n % 10 == 0:d},"never":0,"word":"x"}}' for n in range(100)]
    assert used_extras(pl.DataFrame({"extras": [None, *extras]})) == ("coupon",)
    assert used_extras(pl.DataFrame({"extras": [None]}, schema={"extras": pl.String})) == ()


def test_item_extras_with_few_values_are_facets() -> None:
    items = pl.LazyFrame(
        {
            "item": ["1", "2", "3"],
            "extras": [
                '{"department": "food", "size": "S1", "shop": "x"}',
                '{"department": "home", "size": "S2", "shop": "x"}',
                None,
            ],
        }
    )
    assert item_facets(items) == ("department", "size")
    assert item_facets(items.head(0)) == ()
    recipe = RECIPE.model_copy(update={"facets": {"department": ("food", "home")}})
    rows = [{"kind": "purchase", "item": item, "at": AS_OF - timedelta(days=1)} for item in ("1", "1", "2", "3")]
    with_facets = with_items(events(*rows).lazy(), items.select("item", facet("department")).collect())
    [values] = features(with_facets, recipe.window(AS_OF), recipe).collect()["features"]
    shares = dict(zip(feature_names(recipe), values, strict=True))
    assert shares["facet:department:food"] == pytest.approx(2 / 3), "of events whose department is known"
    assert shares["facet:department:home"] == pytest.approx(1 / 3)


def test_the_spend_of_each_equal_part_of_the_window() -> None:
    recipe = RECIPE.model_copy(update={"parts": 4})  # of 28 days: a week each
    rows = [
        {"kind": "purchase", "price": price, "at": AS_OF - timedelta(days=days)}
        for price, days in ((1.0, 28), (2.0, 21), (4.0, 20.5), (8.0, 0.001))
    ]
    [values] = features(events(*rows).lazy(), recipe.window(AS_OF), recipe).collect()["features"]
    named = dict(zip(feature_names(recipe), values, strict=True))
    assert [named[f"spend_part_{part}"] for part in (1, 2, 3, 4)] == [1, 6, 0, 8]
