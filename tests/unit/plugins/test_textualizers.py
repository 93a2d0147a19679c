"""The built-in textualizers, word for word."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.events.keys import show_key
from segadmin.settings import Language
from segadmin_plugins.textualizers.list import ItemList
from segadmin_plugins.textualizers.mixed import Mixed
from segadmin_plugins.textualizers.summary import Summary
from segadmin_plugins.textualizers.timeline import Timeline
from segadmin_plugins.textualizers.words import level
from tests.unit.text.rows import AS_OF, at, events, phrases_of

KEY = -1234567890123456789
BUILT_IN: list[Textualizer] = [ItemList(), Mixed(), Summary(), Timeline()]


def ago(days: float) -> dict[str, Any]:
    return {"at": AS_OF - timedelta(days=days)}


def test_the_classic_sentence() -> None:
    frame = events({"user_key": KEY, "duration": 600.0})
    assert phrases_of(Timeline(), frame, "zh", user=KEY) == [
        "浏览记录：用户ID_eeddef0b82167eeb 在2022-01-01 00:00浏览了商品ID_456，浏览时长为10分钟"
    ]
    assert phrases_of(Timeline(), frame, "en", user=KEY) == [
        "view record: user eeddef0b82167eeb viewed item 456 at 2022-01-01 00:00, for 10 minutes"
    ]
    assert show_key(KEY) == "eeddef0b82167eeb"


@pytest.mark.parametrize(
    ("event", "chinese", "english"),
    [
        ({}, "浏览记录：{} 在{}浏览了商品ID_456", "view record: {} viewed item 456 at {}"),
        (
            {"kind": "cart", "quantity": 2.0},
            "加购记录：{} 在{}加购了商品ID_456，数量2",
            "cart record: {} put item 456 into the cart at {}, quantity 2",
        ),
        (
            {"kind": "purchase", "quantity": 1.5, "price": 19.999},
            "购买记录：{} 在{}购买了商品ID_456，数量1.5，金额20元",
            "purchase record: {} bought item 456 at {}, quantity 1.5, amount 20",
        ),
        (
            {"kind": "rating", "rating": 4.5},
            "评分记录：{} 在{}评分了商品ID_456，评分为4.5",
            "rating record: {} rated item 456 at {}, rating 4.5",
        ),
        (
            {"kind": "review", "text": "很好"},
            "评论记录：{} 在{}评论了商品ID_456，内容：很好",
            "review record: {} reviewed item 456 at {}: 很好",
        ),
    ],
    ids=["view", "cart", "purchase", "rating", "review"],
)
def test_a_sentence_for_every_kind_of_event(event: dict[str, Any], chinese: str, english: str) -> None:
    key, when = "0000000000000001", "2022-01-01 00:00"
    assert phrases_of(Timeline(), events(event), "zh") == [chinese.format(f"用户ID_{key}", when)]
    assert phrases_of(Timeline(), events(event), "en") == [english.format(f"user {key}", when)]


def test_the_shops_own_ids_only_when_asked_for() -> None:
    frame = events({"user": "张伟"})
    assert "张伟" not in phrases_of(Timeline(), frame, "zh")[0]
    assert phrases_of(Timeline(raw_user_ids=True), frame, "zh") == [
        "浏览记录：用户ID_张伟 在2022-01-01 00:00浏览了商品ID_456"
    ]


def test_a_timeline_has_the_newest_events_first() -> None:
    days = [3.0, 1.0, 2.0, 9.0]
    frame = events(*({"item": f"i{day:.0f}", **ago(day)} for day in days), {"user_key": 2, **ago(0.5)})
    sentences = phrases_of(Timeline(limit=3), frame)
    assert [sentence.split(" item ")[1].split(" ")[0] for sentence in sentences] == ["i1", "i2", "i3"]


def test_the_list_names_each_kind_and_item_once() -> None:
    frame = events(
        {"item": "789", "kind": "purchase", **ago(5)}, ago(4), ago(2), {"kind": "cart", **ago(1)}, {"user_key": 2}
    )
    assert phrases_of(ItemList(), frame, "zh") == ["加购商品ID_456", "浏览商品ID_456", "购买商品ID_789"]
    assert phrases_of(ItemList(), frame, "en") == ["added to cart item 456", "viewed item 456", "bought item 789"]
    assert phrases_of(ItemList(limit=1), frame, "zh") == ["加购商品ID_456"]


def test_a_summary_counts_by_kind_and_category() -> None:
    cheese = [{"kind": "purchase", "item": str(n), "category": "Cheese", **ago(5 + n)} for n in range(12)]
    frame = events(*cheese, *[{"category": "Cheese", **ago(10)}] * 5, {"title": "Red Wine", **ago(40)}, {"item": "7"})
    assert phrases_of(Summary(), frame) == [
        "bought cheese 11 times, last this week",
        "viewed cheese 5 times, last last week",
        "viewed item 7 1 times, last this month",
        "viewed red wine 1 times, last last month",
    ]
    assert phrases_of(Summary(limit=3), frame, "zh") == [
        "购买cheese共11次，最近一周内",
        "浏览cheese共5次，最近两周内",
        "浏览商品ID_7共1次，最近一月内",
    ]


def test_a_chinese_count_does_not_run_into_the_id() -> None:
    """「商品ID_1021次」 could be item 102 once or item 1021."""
    assert phrases_of(Summary(), events({"item": "102"}), "zh") == ["浏览商品ID_102共1次，最近一月内"]


@pytest.mark.parametrize(
    ("times", "shown"), [(1, 1), (5, 5), (6, 6), (7, 6), (8, 8), (11, 8), (12, 11), (16, 16), (64, 64), (100, 91)]
)
def test_larger_counts_are_rounded_down_to_steps(times: int, shown: int) -> None:
    assert phrases_of(Summary(), events(*[{"category": "c"}] * times)) == [f"viewed c {shown} times, last this month"]


@pytest.mark.parametrize(
    ("days", "english", "chinese"),
    [
        (0.0, "now", "刚刚"),
        (3.0, "now", "刚刚"),
        (3.01, "this week", "一周内"),
        (7.0, "this week", "一周内"),
        (14.0, "last week", "两周内"),
        (30.0, "this month", "一月内"),
        (60.0, "last month", "两月内"),
        (60.01, "long ago", "很久前"),
    ],
)
def test_how_long_ago_is_a_word(days: float, english: str, chinese: str) -> None:
    frame = events({"category": "c", **ago(days)})
    assert phrases_of(Summary(), frame, "en") == [f"viewed c 1 times, last {english}"]
    assert phrases_of(Summary(), frame, "zh") == [f"浏览c共1次，最近{chinese}"]


def test_a_number_becomes_the_name_of_its_bucket() -> None:
    numbers = pl.DataFrame({"x": [None, 0.0, 0.41, 0.42, 1.0, 3.0, 7.0, 127.0, 2.0**20 - 1, -3.0]})
    assert numbers.select(x=level(pl.col("x")))["x"].to_list() == ["0", "0", "0", "1", "2", "4", "6", "14", "40", "-4"]


def test_mixed_has_numbers_then_categories_then_recent_events() -> None:
    frame = events(
        {"kind": "purchase", "item": "1", "title": "Brie", "category": "Cheese", "price": 127.0, **ago(3)},
        {"kind": "purchase", "item": "2", "title": "Gouda", "category": "Cheese", "price": 128.0, **ago(20)},
        {"kind": "view", "item": "3", "duration": 180.0, **ago(7)},
    )
    # Spends: 127 in the last half and quarter, 255 in all, 127.5 a visit. Levels: ⌊2·log2(1 + number)⌋.
    assert phrases_of(Mixed(), frame) == [
        *("newspend14", "spend16", "away4", "visits4", "latespend14", "newvisits3", "basket14"),
        *("kinds3", "views2", "minutes4"),
        *("cheese x3", "item 3 x2"),
        *("bought brie now", "viewed item 3 this week", "bought gouda this month"),
    ]
    assert phrases_of(Mixed(categories=1, recent=1), frame, "zh") == [
        *("近期消费14", "消费16", "未到访4", "到访4", "最近消费14", "近期到访3", "客单14", "品类3", "浏览2", "停留4"),
        "cheese x3",
        "刚刚购买brie",
    ]


def test_mixed_leaves_out_what_a_user_has_none_of() -> None:
    phrases = phrases_of(Mixed(), events({"kind": "rating", "rating": 3.0, **ago(1)}))
    assert "stars4" in phrases
    assert not [word for word in phrases if word.startswith(("views", "carts", "minutes", "basket"))]


@pytest.mark.parametrize("textualizer", BUILT_IN, ids=lambda textualizer: textualizer.name)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_events_of_one_moment_read_alike_in_any_order(textualizer: Textualizer, language: Language) -> None:
    alike = [{"price": 1.0}, {"price": 2.0}, {"quantity": 3.0}, {"text": "好"}]
    texts = {tuple(phrases_of(textualizer, events(*order), language)) for order in itertools.permutations(alike)}
    assert len(texts) == 1


@pytest.mark.parametrize("column", ["quantity", "price", "duration", "rating", "text"])
def test_events_that_differ_in_one_thing_alone_read_alike_in_any_order(column: str) -> None:
    pair: list[dict[str, Any]] = [{column: value} for value in (("好", "坏") if column == "text" else (60.0, 120.0))]
    phrases = phrases_of(Timeline(), events(*pair), "zh")
    assert phrases == phrases_of(Timeline(), events(*reversed(pair)), "zh")
    assert len(set(phrases)) == 2


_FACTS = {"1": {"title": "奶酪", "category": "Cheese"}, "2": {"category": "Cheese"}, "3": {}}
_NUMBER = st.none() | st.sampled_from([0.0, 1.0, 2.5])
_EVENT = st.fixed_dictionaries(
    {
        "user_key": st.sampled_from([1, 2, -3]),
        "kind": st.sampled_from(["view", "cart", "purchase", "rating", "review"]),
        "item": st.sampled_from(sorted(_FACTS)),
        "at": st.sampled_from([1.0, 2.0, 20.0]).map(lambda days: AS_OF - timedelta(days=days)),
        **dict.fromkeys(("quantity", "price", "duration", "rating"), _NUMBER),
        "text": st.none() | st.sampled_from(["很好", "fine"]),
    }
).map(lambda event: event | _FACTS[event["item"]])


@hypothesis_settings(max_examples=30, deadline=None)
@given(data=st.data(), log=st.lists(_EVENT, min_size=1, max_size=12), language=st.sampled_from(["en", "zh"]))
def test_any_log_reads_alike_in_any_order(data: st.DataObject, log: list[dict[str, Any]], language: Language) -> None:
    shuffled = data.draw(st.permutations(log))
    for textualizer in [*BUILT_IN, Timeline(limit=2), ItemList(limit=2), Mixed(categories=1, recent=2)]:
        phrases = _everybody(textualizer, log, language)
        assert phrases.equals(_everybody(textualizer, shuffled, language))
        assert set(phrases["user_key"]) == {event["user_key"] for event in log}


def _everybody(textualizer: Textualizer, log: list[dict[str, Any]], language: Language) -> pl.DataFrame:
    context = TextContext(AS_OF - timedelta(days=28), AS_OF, language)
    phrases = textualizer.phrases(events(*log).lazy(), context).collect()
    return phrases.select("user_key", "position", "phrase").sort("user_key", "position")


def test_a_timeline_cut_short_keeps_the_same_of_equal_events() -> None:
    alike = [{"price": float(n)} for n in range(5)]
    assert phrases_of(Timeline(limit=2), events(*alike)) == phrases_of(Timeline(limit=2), events(*reversed(alike)))


@pytest.mark.parametrize("textualizer", BUILT_IN, ids=lambda textualizer: textualizer.name)
def test_an_unknown_kind_of_event_is_shown_by_its_name(textualizer: Textualizer) -> None:
    frame = events({"kind": "wishlist", "at": at("2022-01-28 00:00")})
    phrases = phrases_of(textualizer, frame)
    assert phrases
    if textualizer.name != "mixed":
        assert "wishlist" in phrases[0]
