"""``POST /v1/score`` and ``GET /v1/users/{user}/segment`` on a real server over a shop with a champion."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
import zstandard

from segadmin.inference.live_models import ModelIsLoading
from segadmin.settings import Settings
from segadmin.snapshots.read import assignments, find_snapshot
from segadmin.storage import api_keys
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Scope
from segadmin_api.http import segments
from tests.planted import planted_users
from tests.servers import web_server

Ask = Callable[..., tuple[int, dict[str, Any]]]
_FIELDS = ("kind", "item", "quantity", "price")


@pytest.fixture
def ask(shop: Settings) -> Iterator[Ask]:
    """Return a function that calls a server over the shop, with a key for segments."""
    key = api_keys.create(shop, "recommender", Scope.SEGMENTS)
    with web_server(shop, SEGADMIN_WEB_SCORE_SECONDS="60") as url:  # on a busy machine it takes long to load a model
        yield lambda path, body=None, **headers: call(url + path, body, key, **headers)


def call(url: str, body: Any = None, key: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def posted_events(settings: Settings, key: int) -> list[dict[str, Any]]:
    events = Lake.of(settings).scan("events").filter(pl.col("user_key") == key)
    at = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return events.select(*_FIELDS, at).collect().to_dicts()


def test_scores_and_lookups_agree_with_the_snapshot(shop: Settings, ask: Ask) -> None:
    with transaction(shop) as session:
        snapshot = find_snapshot(session, "current")
    stored = {row["user_key"]: row for row in assignments(shop, snapshot.id or 0).collect().iter_rows(named=True)}
    users = planted_users(shop).head(12).to_dicts()

    def score(user: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        events = posted_events(shop, user["user_key"])
        return ask("/v1/score", {"user": user["user"], "events": events, "as_of": snapshot.as_of.isoformat()})

    with ThreadPoolExecutor(6) as threads:  # at the same time, so that they are read together
        answers = list(threads.map(score, users))
    for user, (status, answer) in zip(users, answers, strict=True):
        assert status == 200, answer
        row = stored[user["user_key"]]
        assert answer["segment"] == row["segment"]
        assert list(answer["probabilities"].values()) == pytest.approx(row["probabilities"], abs=1e-5)
        assert answer["problems"] == []
        looked_up, current = ask(f"/v1/users/{quote(user['user'])}/segment")
        assert looked_up == 200
        assert (current["segment"], current["snapshot"]) == (row["segment"], snapshot.id)


def test_what_a_request_may_lack(ask: Ask) -> None:
    status, answer = ask("/v1/score", {"events": []})
    assert (status, answer["events"]) == (200, 0)
    body = gzip.compress(json.dumps({"events": [{"kind": "view", "item": "i1", "at": "2025-01-01"}, {}]}).encode())
    status, answer = ask("/v1/score", body, Content_Encoding="gzip")
    assert status == 200
    assert [(problem["index"], problem["reason"]) for problem in answer["problems"]] == [(1, "missing_item")]
    status, answer = ask("/v1/score", {"events": [{"kind": "stroke", "item": "i1", "at": "2025-01-01"}]})
    problem = {"index": 0, "reason": "unknown_kind", "field": "kind", "value": "stroke"}
    assert (status, answer["problems"]) == (200, [problem])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"not json", 422, "the body: Invalid JSON"),
        ({"events": [1]}, 422, "events.0: "),
        ({"events": [], "colour": "red"}, 422, "colour: Extra inputs"),
        ({"events": [], "as_of": "2025-01-01T00:00:00"}, 422, "as_of: Input should have timezone info"),
        ({"events": [], "labels": "spend9"}, 422, "There is no champion for 'spend9'"),
        ({"events": [], "labels": "x" * 201}, 422, "labels: "),
        ({"events": [], "as_of": "0001-01-01T00:00:00Z"}, 422, "as_of: the year 1 is not between 1900 and 2200"),
        ({"events": [], "as_of": "9999-12-31T23:59:59-12:00"}, 422, "as_of: the year 9999"),
        ({"events": [{}] * 5001}, 422, "events: "),
        ({"events": [{"kind": "view", "item": "\ud800"}]}, 422, "events: there is half of a surrogate pair"),
        ({"events": [{"kind": [[]] * 2**20}]}, 413, "The body is larger than 2 MiB"),
        ({"events": [{"kind": "view", "item": "i1", "at": "2025-01-01"}], "user": "NULL"}, 422, "user: it is no id"),
    ],
)
def test_requests_that_cannot_be_answered_say_why(ask: Ask, body: Any, status: int, detail: str) -> None:
    answered, problem = ask("/v1/score", body)
    assert (answered, problem["detail"].startswith(detail)) == (status, True), problem


def test_small_bodies_that_become_large_are_refused(ask: Ask) -> None:
    many = gzip.compress(zstandard.compress(b"") * 2000)
    status, problem = ask("/v1/score", many, Content_Encoding="zstd, gzip")
    assert (status, "more than 1,000 zstd streams" in problem["detail"]) == (400, True)
    status, problem = ask("/v1/score", gzip.compress(b'{"events": []}'.ljust(3 * 2**20)), Content_Encoding="gzip")
    assert (status, "larger than 2 MiB" in problem["detail"]) == (413, True)


def test_numbers_are_read_as_an_import_reads_them(ask: Ask) -> None:
    event = b'{"kind": "view", "item": 1.10, "at": "2025-01-01T00:00:00Z", "quantity": 12345678901234567890.5}'
    asked = segments._read(b'{"events": [' + event + b'], "user": 10}', [])
    assert asked.events["item"].to_list() == ["1.10"]
    assert asked.events["quantity"].to_list() == ["12345678901234567890.5"]
    assert asked.user == "10"


def test_users_with_prices_in_other_currencies_are_scored_beside_each_other(ask: Ask) -> None:
    event = {"kind": "purchase", "item": "i1", "at": "2025-01-01T00:00:00Z", "price": 3}

    def score(*currencies: str) -> tuple[int, dict[str, Any]]:
        events = [event | {"currency": currency} for currency in currencies]
        return ask("/v1/score", {"events": events, "as_of": "2025-01-02T00:00:00Z"})

    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(lambda currencies: score(*currencies), [["USD"], ["EUR"], ["USD", "EUR"], ["eur "]] * 3)
        )
    assert [status for status, _ in answers] == [200, 200, 422, 200] * 3
    assert "EUR, USD" in answers[2][1]["detail"]


def test_users_with_any_id_are_looked_up(shop: Settings, ask: Ask) -> None:
    status, problem = ask(f"/v1/users/{quote('a/b', safe='')}/segment")
    assert (status, problem["detail"]) == (404, "The user is not in the current snapshot.")


def test_lookups_of_unknown_users_and_label_sets(ask: Ask) -> None:
    assert ask("/v1/users/nobody/segment")[0] == 404
    status, problem = ask("/v1/users/nobody/segment?labels=spend9")
    assert (status, "spend9" in problem["detail"]) == (422, True)


def test_no_user_is_in_a_log(shop: Settings) -> None:
    key = api_keys.create(shop, "recommender", Scope.SEGMENTS)
    known = planted_users(shop)["user"][0]
    paths = [
        *(f"/v1/users/{user}/segment" for user in (known, "zqx-1", "zqx%2D2", "z%71x/3", "zqx%2F4", "%E7%8E%8Bzqx")),
        *("/v1/users/zqx", "/v1/users/zqx/history", "/V1/Users//zqx/segment", "/shop/v1/user/zqx/segment"),
        *("/v1/users/zqx/segment?labels=zqx", "/v1/users/a/segment?user=zqx&token=zqx", "/v1/users%2Fzqx%2Fsegment"),
        *("/v1/users/http://zqx:zqx@host/segment", "/v1/users/zqx%3Fx/segment", "/v1/users/zqx%20pwd='/segment"),
    ]
    with web_server(shop) as url:
        assert call(f"{url}/v1/users/{known}/segment", None, key)[0] == 200
        for path in paths:
            for secret in (key, "seg_wrong", ""):
                call(url + path, None, secret)
        for path in shop.root.glob("segadmin.db*"):
            path.write_bytes(b"no database" * 10_000)
        assert call(f"{url}/v1/users/zqx/segment", None, key)[0] in {500, 503}
    log = (shop.root / "web.log").read_text()
    assert not [line for line in log.splitlines() if known in line or "zqx" in line or "z%71x" in line]
    assert {'"GET /v1/users/{user}/segment HTTP/1.1" ' + status in log for status in ("200", "401", "404")} == {True}


def test_a_path_as_long_as_can_be_is_answered_at_once_and_logged_in_short(shop: Settings) -> None:
    key = api_keys.create(shop, "recommender", Scope.SEGMENTS)
    with web_server(shop) as url:
        for path in (f"/v1/users/{'x' * 60_000}/segment", f"/{'x' * 60_000}", f"/x?{'a.' * 30_000}"):
            began = time.monotonic()
            assert call(url + path, None, key)[0] == 404
            assert time.monotonic() - began < 20, "in quadratic time it would be minutes"
    assert max(map(len, (shop.root / "web.log").read_text().splitlines())) < 500


def test_a_key_of_another_scope_does_not_open_segments(shop: Settings) -> None:
    events_key = api_keys.create(shop, "shop", Scope.EVENTS)
    with web_server(shop) as url:
        for path, body in (("/v1/score", {"events": []}), ("/v1/users/u1/segment", None)):
            status, problem = call(url + path, body, events_key)
            assert (status, "segadmin keys create NAME --segments" in problem["detail"]) == (403, True)


def test_the_first_request_waits_for_the_model(shop: Settings) -> None:
    with web_server(shop, SEGADMIN_WEB_SCORE_SECONDS="60") as url:
        key = api_keys.create(shop, "recommender", Scope.SEGMENTS)  # after the start, so that nothing is loaded yet
        status, answer = call(f"{url}/v1/score", {"events": []}, key)
    assert (status, answer["model_version"]) == (200, 1)


def test_a_request_does_not_wait_longer_than_allowed(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_POLL", shop.web_score_seconds)

    async def ask() -> None:
        scoring = segments.Scoring(shop, waiting=shop.web_scores_waiting)
        running = asyncio.create_task(scoring.batches.run())
        try:
            await scoring.answer(segments._read(b'{"events": []}', []))
        finally:
            running.cancel()

    with pytest.raises(ModelIsLoading, match="Model version 1 is being loaded"):
        asyncio.run(ask())


def test_a_champion_is_loaded_before_it_is_asked_for(shop: Settings) -> None:
    async def loaded() -> None:
        scoring = segments.Scoring(shop, waiting=shop.web_scores_waiting)
        running = asyncio.create_task(scoring.run())
        while not scoring._models._live:
            await asyncio.sleep(0.05)
        running.cancel()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(loaded(), 2))  # no service may ask for segments
    api_keys.create(shop, "recommender", Scope.SEGMENTS)
    asyncio.run(asyncio.wait_for(loaded(), 60))


def test_more_requests_than_may_wait_are_refused_and_none_is_lost(shop: Settings) -> None:
    key = api_keys.create(shop, "recommender", Scope.SEGMENTS)
    with web_server(shop, SEGADMIN_WEB_SCORES_WAITING="2") as url:
        call(f"{url}/v1/score", {"events": []}, key)  # loads the model
        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(lambda _: call(f"{url}/v1/score", {"events": []}, key), range(48)))
    statuses = {status for status, _ in answers}
    assert statuses <= {200, 429}
    assert 200 in statuses
    assert len(answers) == 48
