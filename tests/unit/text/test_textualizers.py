"""What the built-in textualizers say, in both languages, and how they are put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import TextContext
from segadmin.errors import ConfigurationError, PluginNotFound
from segadmin.settings import Language, Settings
from segadmin.storage.schema import TIME

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


def events(*changes: dict[str, Any]) -> pl.LazyFrame:
    blank = dict.fromkeys(("quantity", "price", "duration", "rating", "text", "extras", "title", "category", "brand"))
    usual = {"user_key": 1, "kind": "view", "item": "9", **blank}
    rows = [{**usual, "event_id": n, **change, "at": AS_OF - change["ago"]} for n, change in enumerate(changes)]
    numbers = dict.fromkeys(("quantity", "price", "duration", "rating"), pl.Float64)
    words = dict.fromkeys(("kind", "item", "text", "extras", "title", "category", "brand"), pl.String)
    keys = {"user_key": pl.Int64, "event_id": pl.Int64, "at": TIME}
    return pl.DataFrame(rows, schema={**keys, **numbers, **words}).lazy()


def read(settings: Settings, name: str, log: pl.LazyFrame, language: Language = "en", **options: Any) -> list[str]:
    made = load_plugins(settings).make("textualizer", name, options)
    phrases = made.phrases(log, TextContext(AS_OF - timedelta(days=400), AS_OF, language)).collect()
    return phrases.sort("user_key", "position")["phrase"].to_list()  # type: ignore[no-any-return]


def days(count: float, minutes: float = 0) -> timedelta:
    return timedelta(days=count, minutes=minutes)


LOG = (
    {"ago": days(0.2), "kind": "view", "title": "Lamp", "category": "Home"},
    {"ago": days(0.2, 10), "kind": "view", "title": "Novel", "category": "Books"},
    {"ago": days(3.5), "kind": "purchase", "title": "Novel", "category": "Books", "price": 20.0, "quantity": 1.0},
    {"ago": days(3.5, 5), "kind": "cart", "title": "Novel", "category": "Books"},
    {"ago": days(3.5, 12), "kind": "view", "title": "Novel", "category": "Books"},
    {"ago": days(2), "kind": "review", "title": "Novel", "category": "Books", "rating": 4.0, "text": "Nice\n read"},
)


@pytest.mark.parametrize(
    ("name", "language", "expected"),
    [
        (
            "sessions",
            "en",
            [
                "today, minutes6: viewed 2 (home, books)",
                "2 days ago, minutes0: reviewed 1 (books)",
                "3 days ago, minutes7: viewed 1 (books), added to cart 1 (books), bought 1 (books)",
            ],
        ),
        (
            "sessions",
            "zh",
            [
                "今天到访，停留6：浏览2次（home、books）",
                "2天前到访，停留0：评论1次（books）",
                "3天前到访，停留7：浏览1次（books），加购1次（books），购买1次（books）",
            ],
        ),
        ("journey", "en", ["books: viewed → added to cart → bought → reviewed, today", "home: viewed, today"]),
        ("journey", "zh", ["books：浏览→加购→购买→评论，今天", "home：浏览，今天"]),
        ("reviews", "en", ["reviewed novel 2 days ago, 4 stars: Nice read"]),
        ("reviews", "zh", ["2天前评价novel4星：Nice read"]),
        ("rfm", "en", ["away0", "visits5", "spend8", "basket8"]),
        ("rfm", "zh", ["未到访0", "到访5", "消费8", "客单8"]),
    ],
)
def test_phrases_of_each_textualizer(settings: Settings, name: str, language: Language, expected: list[str]) -> None:
    assert read(settings, name, events(*LOG), language) == expected


def test_a_user_without_reviews_gets_a_phrase(settings: Settings) -> None:
    assert read(settings, "reviews", events(LOG[0])) == ["no reviews"]
    assert read(settings, "reviews", events(LOG[0]), "zh") == ["没有评价"]


@pytest.mark.parametrize(
    ("ago", "english", "chinese"),
    [
        (0.5, "today", "今天"),
        (1.5, "yesterday", "昨天"),
        (3, "3 days ago", "3天前"),
        (8, "last week", "上周"),
        (20, "2 weeks ago", "2周前"),
        (40, "last month", "上个月"),
        (100, "3 months ago", "3个月前"),
        (399, "long ago", "很久前"),
    ],
)
def test_recency_words(settings: Settings, ago: float, english: str, chinese: str) -> None:
    log = events({"ago": days(ago), "kind": "rating", "rating": 5.0, "title": "x"})
    assert read(settings, "reviews", log) == [f"reviewed x {english}, 5 stars"]
    assert read(settings, "reviews", log, "zh") == [f"{chinese}评价x5星"]


def test_parts_are_concatenated_in_order(settings: Settings) -> None:
    log = events(*LOG)
    parts = [
        read(settings, "rfm", log),
        read(settings, "summary", log, limit=2),
        read(settings, "sessions", log, gap_minutes=5),
    ]
    composed = read(settings, "compose", log, parts="rfm + summary(2) + sessions(gap_minutes=5)")
    assert composed == [phrase for part in parts for phrase in part]
    made = load_plugins(settings).make(
        "textualizer", "compose", {"parts": "rfm+timeline(raw_user_ids=True)+mixed(by=item)"}
    )
    assert (made.version, made.raw_user_ids) == ("rfm:1+timeline:2+mixed:1", True)


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        ("rfm + sumary", PluginNotFound, r"no textualizer 'sumary'.*Did you mean 'summary'\?"),
        ("rfm + summary(size=3)", ConfigurationError, "has no option 'size'"),
        ("rfm * 2", ConfigurationError, "cannot be read"),
        ("rfm +", ConfigurationError, "cannot be read. It is names joined by"),
        ("summary(limit=__import__('os'))", ConfigurationError, "cannot be read"),
        ("summary(1, 2)", ConfigurationError, "cannot be read"),
        ("rfm + compose", ConfigurationError, "cannot be a part of itself"),
        ("", ConfigurationError, "cannot be read"),
    ],
)
def test_parts_that_cannot_be_used(settings: Settings, parts: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_plugins(settings).make("textualizer", "compose", {"parts": parts})


def test_events_are_put_together_by_category_or_by_item(settings: Settings) -> None:
    log = [{"ago": days(n), "kind": "purchase", "title": title, "category": "dairy"} for n, title in enumerate("aab")]
    assert read(settings, "mixed", events(*log), recent=0)[-1:] == ["dairy x4"]
    assert read(settings, "mixed", events(*log), recent=0, by="item")[-2:] == ["a x3", "b x2"]
    assert read(settings, "summary", events(*log), by="item")[0].startswith("bought a 2 times")
