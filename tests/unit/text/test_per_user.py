from __future__ import annotations

from typing import Any

import pytest

import segadmin
from segadmin.errors import PluginContractError
from tests.unit.text.rows import at, events, phrases_of


@segadmin.per_user
def last_seen(rows: list[dict[str, Any]], context: segadmin.TextContext) -> list[str]:
    """What a user looked at last."""
    days = (context.as_of - rows[0]["at"]).days
    return [f"{days} days ago", *(row["title"] or row["item"] for row in rows)]


def test_a_function_gets_one_users_events_newest_first() -> None:
    frame = events(
        {"item": "1", "at": at("2022-01-02 00:00")},
        {"item": "2", "at": at("2022-01-09 00:00"), "title": "奶酪"},
        {"item": "3", "at": at("2022-01-10 00:00"), "user_key": 2},
    )
    assert phrases_of(last_seen(), frame) == ["20 days ago", "奶酪", "1"]
    assert phrases_of(last_seen(), frame, user=2) == ["19 days ago", "3"]


def test_its_name_and_words_become_the_textualizers() -> None:
    assert last_seen.name == "last-seen"
    assert last_seen.__doc__ == "What a user looked at last."


def test_events_of_one_moment_come_in_the_same_order_always() -> None:
    alike = [{"price": 3.0}, {"kind": "cart"}, {"price": 1.0}, {}]

    @segadmin.per_user
    def prices(rows: list[dict[str, Any]], context: segadmin.TextContext) -> list[str]:
        return [f"{row['kind']} {row['price']}" for row in rows]

    assert phrases_of(prices(), events(*alike)) == phrases_of(prices(), events(*reversed(alike)))


def test_a_function_that_returns_one_string_is_refused() -> None:
    @segadmin.per_user
    def slip(rows: list[dict[str, Any]], context: segadmin.TextContext) -> list[str]:
        return "hello"  # type: ignore[return-value]

    with pytest.raises(PluginContractError, match=r"'slip' returned one string for a user. Return a list of phrases"):
        phrases_of(slip(), events({}))
