"""Users of a real lake become phrases and features, and a textualizer that errs is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

import segadmin
from segadmin.errors import DataError, PluginContractError, PluginError
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.text.fingerprint import phrase_hash
from segadmin.text.reader import UserTexts, read_users
from segadmin.text.recipe import Recipe
from segadmin_plugins.textualizers.list import ItemList
from segadmin_plugins.textualizers.summary import Summary
from segadmin_plugins.textualizers.timeline import Timeline
from tests.unit.text.rows import AS_OF, events

RECIPE = Recipe(
    textualizer="list", textualizer_version="1", distribution="shop-text 2.0", window_days=28, max_phrases=3
)
FIRST = AS_OF - timedelta(days=28)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake.of(settings)


def fill(lake: Lake, *rows: dict[str, Any], bucket: int = 0) -> None:
    frame = events(*rows).drop("title", "category", "brand", "user")
    lake.append("events", frame.with_columns(bucket=pl.lit(bucket), event_id=pl.int_range(pl.len())))


def read(
    lake: Lake, *keys: int, textualizer: segadmin.Textualizer | None = None, recipe: Recipe = RECIPE, bucket: int = 0
) -> UserTexts:
    users = pl.DataFrame({"user_key": list(keys)}, schema={"user_key": pl.Int64})
    return read_users(lake, bucket, recipe.window(AS_OF), recipe, textualizer=textualizer or ItemList(), users=users)


def test_the_window_holds_its_first_moment_and_not_its_last(lake: Lake) -> None:
    times = {"early": FIRST - MOMENT, "first": FIRST, "last": AS_OF - MOMENT, "late": AS_OF}
    fill(lake, *({"item": item, "at": moment} for item, moment in times.items()))
    texts = read(lake, 1)
    assert texts.users["phrases"].to_list() == [["viewed item last", "viewed item first"]]
    assert texts.users["features"][0][2] == 2  # visits


@pytest.mark.parametrize(("language", "words"), [("en", "no recent activity"), ("zh", "近期无行为")])
def test_a_user_without_events_has_a_text_too(lake: Lake, language: Any, words: str) -> None:
    fill(lake, {"user_key": 1}, {"user_key": 2, "at": AS_OF})
    texts = read(lake, 1, 2, 3, recipe=RECIPE.model_copy(update={"language": language}))
    assert texts.users["user_key"].to_list() == [1, 2, 3]
    assert texts.users["phrases"].to_list()[1:] == [[words], [words]]
    assert texts.users["features"].list.len().n_unique() == 1
    assert set(texts.users["features"][1]) == {None}
    assert texts.report["users_without_events"] == 2


def test_no_users(lake: Lake) -> None:
    texts = read(lake)
    assert texts.users.is_empty()
    assert texts.report == dict.fromkeys(texts.report, 0)


def test_only_the_users_asked_for_and_only_their_bucket(lake: Lake) -> None:
    fill(lake, {"user_key": 1}, {"user_key": 2})
    fill(lake, {"user_key": 1, "item": "of another bucket"}, bucket=1)
    users = read(lake, 1).users
    assert users.schema == {
        "bucket": pl.Int32,
        "user_key": pl.Int64,
        "as_of": pl.Datetime("us", "UTC"),
        "phrases": pl.List(pl.String),
        "phrase_hash": pl.Int64,
        "features": pl.List(pl.Float32),
        "events_hash": pl.Int64,
        "items_hash": pl.Int64,
    }
    row = users.to_dicts()[0]
    assert (row["bucket"], row["user_key"], row["as_of"], row["phrases"]) == (0, 1, AS_OF, ["viewed item 456"])
    assert row["phrase_hash"] == phrase_hash(pl.Series([["viewed item 456"]])).item()


def test_the_most_informative_phrases_are_kept_and_the_rest_is_reported(lake: Lake) -> None:
    fill(lake, *({"item": str(n), "at": AS_OF - timedelta(days=n)} for n in range(1, 6)), {"user_key": 2})
    texts = read(lake, 1, 2)
    assert texts.users["phrases"].to_list()[0] == ["viewed item 1", "viewed item 2", "viewed item 3"]
    assert texts.report == {
        "users": 2,
        "users_without_events": 0,
        "events": 6,
        "phrases": 4,
        "users_capped": 1,
        "phrases_dropped": 2,
    }


def test_items_are_named_where_they_are_known(lake: Lake) -> None:
    fill(lake, {"item": "1"}, {"item": "2"}, {"item": "3"})
    items = pl.DataFrame({"item": ["1", "2"], "title": ["红酒", None], "category": ["酒", "奶酪"]})
    lake.append("items", items.with_columns(brand=None, price=None, extras=None))
    phrases = read(lake, 1, textualizer=Summary(), recipe=RECIPE.model_copy(update={"language": "zh"})).users["phrases"]
    assert set(phrases[0]) == {"浏览酒共1次，最近一月内", "浏览奶酪共1次，最近一月内", "浏览商品ID_3共1次，最近一月内"}


def test_raw_ids_reach_only_a_textualizer_that_requests_them(lake: Lake) -> None:
    fill(lake, {})
    lake.append("users", pl.DataFrame({"bucket": [0], "user_key": [1], "user": ["张伟"]}))
    columns: list[list[str]] = []

    class Asks(ItemList):
        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            columns.append(events.collect_schema().names())
            return super().phrases(events, context)

    read(lake, 1, textualizer=Asks())
    assert "user" not in columns[0]
    assert "张伟" in read(lake, 1, textualizer=Timeline(raw_user_ids=True)).users["phrases"][0][0]


def test_phrases_of_equal_positions_have_a_fixed_order(lake: Lake) -> None:
    class Unranked(segadmin.Textualizer):
        backwards = False

        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            phrases = events.select("user_key", position=pl.lit(0), phrase="item")
            return phrases.reverse() if self.backwards else phrases

    fill(lake, {"item": "b"}, {"item": "a"}, {"item": "c"})
    forward, back = Unranked(), Unranked()
    back.backwards = True
    assert read(lake, 1, textualizer=forward).users.equals(read(lake, 1, textualizer=back).users)


def _kinds(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select("user_key", position=pl.lit(0), phrase=pl.col("kind"))


def _fails(frame: pl.LazyFrame) -> pl.LazyFrame:
    raise ZeroDivisionError("by nought")


def _panics(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Polars itself panics on it, with what is no ``Exception``."""
    return _kinds(frame).with_columns(phrase=(pl.lit(AS_OF) + pl.duration(days=2**50)).dt.strftime("%Y"))


@pytest.mark.parametrize(
    ("phrases", "kind", "words"),
    [
        (_panics, PluginError, r"failed in phrases\(\): PanicException"),
        (_fails, PluginError, r"failed in phrases\(\): ZeroDivisionError: by nought"),
        (lambda frame: frame.select("nonsense"), PluginError, r"failed in phrases\(\): ColumnNotFoundError"),
        (lambda frame: ["hello"], PluginContractError, r"returned list from phrases\(\), not a polars LazyFrame"),
        (lambda frame: _kinds(frame).drop("position", "phrase"), PluginContractError, "no column phrase, position"),
        (lambda frame: _kinds(frame).with_columns(phrase=pl.lit(1)), PluginContractError, "phrase as Int32"),
        (lambda frame: _kinds(frame).with_columns(position=pl.lit("a")), PluginContractError, "position as String"),
        (lambda frame: _kinds(frame).with_columns(phrase=pl.lit(None, pl.String)), PluginContractError, "nulls"),
        (
            lambda frame: _kinds(frame).with_columns(user_key=pl.col("user_key") + 1),
            PluginContractError,
            "users that have no events: 1",
        ),
    ],
)
def test_an_error_in_a_textualizer_names_it(
    lake: Lake, phrases: Callable[[pl.LazyFrame], Any], kind: type[PluginError], words: str
) -> None:
    class Errs(segadmin.Textualizer):
        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return phrases(events)  # type: ignore[no-any-return]

    fill(lake, {})
    recipe = RECIPE.model_copy(update={"textualizer": "errs"})
    with pytest.raises(kind, match=words) as caught:
        read(lake, 1, textualizer=Errs(), recipe=recipe)
    assert str(caught.value).startswith("The textualizer 'errs' of shop-text 2.0 ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: 1 / 0, r"failed in next_change\(\): ZeroDivisionError"),
        (lambda events: events.select("user_key", next_change="kind"), "a Datetime in UTC"),
        (lambda events: events.select("at"), "there must be user_key and next_change"),
        (lambda _: "tomorrow", r"returned str from next_change\(\)"),
        (lambda events: events.select("user_key", next_change=pl.col("at").dt.replace_time_zone(None)), "no time zone"),
    ],
)
def test_an_error_in_next_change_names_the_textualizer(
    lake: Lake, change: Callable[[pl.LazyFrame], Any], words: str
) -> None:
    class Errs(segadmin.Textualizer):
        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return events.select("user_key", position=pl.lit(0), phrase=pl.lit("same")).unique()

        def next_change(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return change(events)  # type: ignore[no-any-return]

    fill(lake, {})
    users = pl.DataFrame({"user_key": [1]}, schema={"user_key": pl.Int64})
    window = RECIPE.window(AS_OF)
    with pytest.raises(PluginError, match=words) as caught:
        read_users(lake, 1, window, RECIPE, textualizer=Errs(), users=users, timed=True)
    assert str(caught.value).startswith("The textualizer ")


def test_an_error_that_says_what_to_do_is_passed_on(lake: Lake) -> None:
    class Refuses(segadmin.Textualizer):
        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            raise DataError("No word list. Run: shop-text fetch")

    fill(lake, {})
    with pytest.raises(DataError, match=r"^No word list. Run: shop-text fetch$"):
        read(lake, 1, textualizer=Refuses())
