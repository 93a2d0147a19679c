"""Live prices are in one currency: that of the events before, unless the mapping tells what others are worth."""

from __future__ import annotations

import json

import pytest

from segadmin.events.import_record import inbox_currency
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import
from segadmin_api.http.events import _check


def purchase(user: str, price: object, currency: str | None = None, **more: object) -> str:
    given = {} if currency is None else {"currency": currency}
    return json.dumps(
        {"user": user, "kind": "purchase", "item": "i", "at": "2026-01-31", "price": price, **given, **more}
    )


def take(settings: Settings, *batches: list[str], mapping: Mapping | None = None) -> Import:
    """Post batches and import them together."""
    for batch in batches:
        Inbox.of(settings).add(batch)
    done, _ = import_file(settings, ImportRequest("events", "inbox://", mapping or Mapping()))
    assert Inbox.of(settings).failed() == []
    return done


def users(settings: Settings) -> set[str]:
    return set(Lake.of(settings).scan("users").collect()["user"])


def test_two_batches_in_different_currencies_do_not_block_an_import(settings: Settings) -> None:
    done = take(settings, [purchase("a", 1, "EUR"), purchase("b", 2, "eur")], [purchase("c", 3, "USD")])
    assert (done.rows_kept, done.reasons) == (2, {"unknown_currency": 1})
    done = take(settings, [purchase("d", 4, "EUR")])
    assert (done.rows_kept, done.reasons) == (1, {})
    assert users(settings) == {"a", "b", "d"}


def test_a_batch_with_two_currencies_loses_only_the_events_in_the_rarer_one(settings: Settings) -> None:
    lines = [purchase("odd", 1, "USD"), purchase("a", 1, "EUR"), purchase("b", 1, "EUR"), purchase("c", 1)]
    events, usable, problems = _check(lines, Mapping())
    assert (events, usable) == (4, 3)
    assert [(problem.index, problem.reason, problem.value) for problem in problems] == [(0, "unknown_currency", "USD")]
    assert take(settings, lines).reasons == {"unknown_currency": 1}
    assert users(settings) == {"a", "b", "c"}


def test_the_currency_is_that_of_earlier_imports_and_the_client_is_told(settings: Settings) -> None:
    take(settings, [purchase("a", 1, "EUR")])
    assert inbox_currency(settings) == "EUR"
    take(settings, [json.dumps({"user": "v", "kind": "view", "item": "i", "at": "2026-01-31"})])
    assert inbox_currency(settings) == "EUR", "an import without prices changes nothing"
    lines = [purchase("b", 1, "USD"), purchase("c", 1, "USD")]
    assert _check(lines, Mapping(), inbox_currency(settings))[1] == 0
    assert take(settings, lines).reasons == {"unknown_currency": 2}
    mapping = Mapping(currency="USD", rates={"EUR": 1.1})
    assert take(settings, [purchase("d", 1, "USD"), purchase("e", 1, "EUR")], mapping=mapping).rows_kept == 2
    assert inbox_currency(settings) == "USD", "the mapping decides"


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        (purchase("a", "5 €"), purchase("b", "€7.50"), purchase("c", "$6.00")),
        (purchase("a", 5, "EUR"), purchase("b", "5 €"), purchase("c", "£6")),
        (purchase("a", "¥5"), purchase("b", 5, "CNY"), purchase("c", 5, "EUR")),
        (purchase("a", 5, "CNY"), purchase("b", 5, "cny"), purchase("c", 5, "JPY")),
        (
            purchase("a", None, "EUR", unit_price=2),
            purchase("b", None, unit_price="2 €"),
            purchase("c", None, "USD", unit_price=2),
        ),
    ],
)
def test_a_symbol_in_the_price_counts_as_a_currency(settings: Settings, first: str, same: str, other: str) -> None:
    take(settings, [first])
    assert take(settings, [same], [other]).reasons == {"unknown_currency": 1}
    assert users(settings) == {"a", "b"}


@pytest.mark.parametrize(
    "first", [purchase("a", 1, "bananas"), purchase("a", "free", "USD"), purchase("a", None, "USD")]
)
def test_what_is_no_price_in_a_known_currency_decides_nothing(settings: Settings, first: str) -> None:
    take(settings, [first])
    assert inbox_currency(settings) is None
    assert take(settings, [purchase("b", 1, "EUR"), purchase("c", 1, "EUR")]).rows_kept == 2
    assert take(settings, [purchase("d", 1, "points")]).reasons == {"unknown_currency": 1}


def test_a_currency_without_a_price_is_no_reason(settings: Settings) -> None:
    take(settings, [purchase("a", 1, "EUR")])
    assert take(settings, [purchase("b", None, "USD")]).rows_kept == 1
