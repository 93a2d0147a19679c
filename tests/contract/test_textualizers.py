"""Every registered textualizer keeps the contract; and the suite notices when one does not."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

import polars as pl
import pytest

import segadmin
from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings
from segadmin.testing import check_textualizer

NAMES = ("compose", "journey", "list", "mixed", "reviews", "rfm", "sessions", "summary", "timeline")


def test_every_registered_textualizer_is_tested(settings: Settings) -> None:
    assert set(NAMES) == set(load_plugins(settings).names("textualizer"))


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, settings: Settings) -> None:
    check_textualizer(load_plugins(settings).make("textualizer", name))


def test_raw_user_ids_are_an_option(settings: Settings) -> None:
    check_textualizer(load_plugins(settings).make("textualizer", "timeline", {"raw_user_ids": "true"}))


def test_a_plain_function_fulfils_the_contract() -> None:
    @segadmin.per_user
    def counting(events: list[dict[str, Any]], context: segadmin.TextContext) -> list[str]:
        return [f"{len(events)} events", *sorted({event["kind"] for event in events})]

    check_textualizer(counting())


def _positions(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.select("user_key", position=pl.lit(0), phrase=pl.col("kind")).unique()


def _panics(events: pl.LazyFrame) -> pl.LazyFrame:
    """Polars itself panics on it, with what is no ``Exception``."""
    year = (pl.col("at") + pl.duration(days=2**50)).dt.strftime("%Y")
    return events.select("user_key", position=pl.lit(0), phrase=year)


def _newest_prices(events: pl.LazyFrame) -> pl.LazyFrame:
    """Prices, newest first: of those of one moment, whichever row came first."""
    newest = events.filter(pl.col("price").is_not_null()).sort("at", descending=True, maintain_order=True)
    ranked = newest.with_columns(position=pl.int_range(pl.len()).over("user_key"))
    return ranked.select("user_key", "position", phrase=pl.col("price").cast(pl.String))


def _stranger() -> pl.LazyFrame:
    return pl.LazyFrame(
        {"user_key": [404], "position": [0], "phrase": ["hello"]}, schema_overrides={"position": pl.Int32}
    )


@pytest.mark.parametrize(
    ("phrases", "words"),
    [
        (lambda events: _positions(events).rename({"phrase": "text"}), "no column phrase"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit(None, pl.String)), "nulls"),
        (lambda events: _positions(events).with_columns(user_key=pl.col("user_key") + 1), "users that have no events"),
        (lambda events: _positions(events).filter(pl.col("user_key") > 0), "have no phrase"),
        (lambda events: _positions(events).collect(), "not a LazyFrame"),
        (lambda events: _positions(events.with_columns(kind=pl.col("kind").first())), "another order|when alone"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit("for 张伟")), "own user ids"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit(" ")), "phrases are blank"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit(1)), "phrase is Int32, not String"),
        (lambda events: _positions(events).with_columns(position=pl.lit("1")), "position is String, not a number"),
        (lambda events: _positions(events).select("nonsense"), "fails on 18 events of 3 users: ColumnNotFoundError"),
        (_panics, "fails on 18 events of 3 users: PanicException"),
        (lambda events: events.select("user_key", position="price", phrase="kind"), "nulls"),
        (lambda events: events.select("user_key", position=pl.row_index(), phrase="kind"), "another order|when alone"),
        (_newest_prices, "sort events of the same moment too"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit(token_hex())), "when alone|twice"),
        (lambda events: pl.concat([_positions(events), _stranger()]), "users that have no events"),
    ],
)
def test_the_suite_detects_a_broken_textualizer(phrases: Callable[[pl.LazyFrame], Any], words: str) -> None:
    class Broken(segadmin.Textualizer):
        name = "broken"

        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return phrases(events)  # type: ignore[no-any-return]

    with pytest.raises(AssertionError, match=words):
        check_textualizer(Broken())


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (pl.lit(None).cast(pl.Datetime("us", "UTC")), "other phrases before next_change"),
        (pl.col("at").max() + pl.duration(days=200), "other phrases before next_change"),
        (pl.lit("soon"), "next_change is String, not a Datetime in UTC"),
        (pl.col("at").max().dt.replace_time_zone(None), "not a Datetime in UTC"),
    ],
)
def test_the_suite_detects_a_moment_that_is_too_late(moment: pl.Expr, words: str) -> None:
    class Late(segadmin.Textualizer):
        name = "late"

        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            days = (pl.lit(context.as_of) - pl.col("at").max()).dt.total_days()
            texts = events.group_by("user_key").agg(phrase=days.cast(pl.String))
            return texts.with_columns(position=pl.lit(0))

        def next_change(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return events.group_by("user_key").agg(next_change=moment)

    with pytest.raises(AssertionError, match=words):
        check_textualizer(Late())


def test_a_subclass_with_other_phrases_does_not_inherit_the_moment() -> None:
    class Static(segadmin.Textualizer):
        name = "static"

        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return _positions(events)

        def next_change(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return events.select("user_key", next_change=pl.lit(None, pl.Datetime("us", "UTC"))).unique()

    class Dated(Static):
        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return _positions(events).with_columns(phrase=pl.lit(f"as of {context.as_of}"))

    assert Static().knows_next_change
    assert not Dated().knows_next_change
    check_textualizer(Static())
    check_textualizer(Dated())


def test_a_textualizer_needs_a_name() -> None:
    class Nameless(segadmin.Textualizer):
        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return _positions(events)

    with pytest.raises(AssertionError, match="give it a name"):
        check_textualizer(Nameless())


def test_events_with_missing_fields_are_tried() -> None:
    class Trusting(segadmin.Textualizer):
        name = "trusting"

        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            titled = events.filter(pl.col("title").is_not_null() | pl.col("title").is_null().all())
            return titled.select("user_key", position=pl.lit(0), phrase="title").unique()

    with pytest.raises(AssertionError, match="nulls; leave such phrases out"):
        check_textualizer(Trusting())
