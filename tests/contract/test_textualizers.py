"""Every registered textualizer keeps the contract; and the suite notices when one does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import segadmin
from segadmin.plugins import load_plugins
from segadmin.settings import Settings
from segadmin.testing import check_textualizer

NAMES = ("list", "mixed", "summary", "timeline")


def test_every_registered_textualizer_is_held_to_the_contract(settings: Settings) -> None:
    assert set(NAMES) == set(load_plugins(settings).names("textualizer"))


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, settings: Settings) -> None:
    check_textualizer(load_plugins(settings).make("textualizer", name))


def test_raw_user_ids_are_told_only_when_asked_for(settings: Settings) -> None:
    check_textualizer(load_plugins(settings).make("textualizer", "timeline", {"raw_user_ids": "true"}))


def test_a_plain_function_keeps_it() -> None:
    @segadmin.per_user
    def counting(events: list[dict[str, Any]], context: segadmin.TextContext) -> list[str]:
        return [f"{len(events)} events", *sorted({event["kind"] for event in events})]

    check_textualizer(counting())


def _positions(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.select("user_key", position=pl.lit(0), phrase=pl.col("kind")).unique()


@pytest.mark.parametrize(
    ("phrases", "words"),
    [
        (lambda events: _positions(events).rename({"phrase": "text"}), "the columns are"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit(None, pl.String)), "nulls"),
        (lambda events: _positions(events).with_columns(user_key=pl.col("user_key") + 1), "users that have no events"),
        (lambda events: _positions(events).filter(pl.col("user_key") > 0), "have no phrase"),
        (lambda events: _positions(events).collect(), "not a LazyFrame"),
        (lambda events: _positions(events.with_columns(kind=pl.col("kind").first())), "another order|when alone"),
        (lambda events: _positions(events).with_columns(phrase=pl.lit("for 张伟")), "own user ids"),
    ],
)
def test_the_suite_notices(phrases: Callable[[pl.LazyFrame], Any], words: str) -> None:
    class Broken(segadmin.Textualizer):
        name = "broken"

        def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
            return phrases(events)  # type: ignore[no-any-return]

    with pytest.raises(AssertionError, match=words):
        check_textualizer(Broken())
