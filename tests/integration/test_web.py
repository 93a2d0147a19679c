"""The HTTP API as a shop uses it: a real server, Redis and worker; events posted, some of them twice."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segadmin.events.inbox import Inbox
from segadmin.settings import Settings, get_settings
from segadmin.storage.lake import Lake
from tests.conftest import Cli
from tests.servers import beat, redis_server, wait_until, web_server, worker


def post(
    url: str, body: bytes, key: str = "", kind: str = "application/json", **more: str
) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": kind, **({"Authorization": f"Bearer {key}"} if key else {}), **more}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/events", body, headers), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A running ``segadmin web`` over an empty store, for all tests here: its home and its URL."""
    home = tmp_path_factory.mktemp("web") / "home"
    with web_server(Settings(home=home), SEGADMIN_HOME=str(home)) as url:
        yield home, url


@pytest.fixture
def shared(settings: Settings, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings of that server, for this process and commands; other tests may have posted before."""
    monkeypatch.setenv("SEGADMIN_HOME", str(server[0]))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def web(shared: Settings, server: tuple[Path, str]) -> str:
    """The URL of that server."""
    return server[1]


@pytest.fixture
def kept(shared: Settings) -> Callable[[], list[Path]]:
    """Return the batches that were put into the inbox since the test began."""
    before = set(Inbox.of(shared).batches())
    return lambda: [batch for batch in Inbox.of(shared).batches() if batch not in before]


def rows(settings: Settings, table: str) -> pl.DataFrame:
    return Lake.of(settings).scan(table).collect()


def event(n: int, **more: object) -> dict[str, object]:
    return {"user": f"u{n % 5}", "kind": "view", "item": f"i{n}", "at": "2026-01-31T18:05:00Z", **more}


def test_posted_events_are_in_the_lake_each_once(settings: Settings, cli: Cli) -> None:
    with web_server(settings, SEGADMIN_INBOX_SECONDS="1") as url:
        _post_twice_and_read(url, settings, cli)


def _post_twice_and_read(web: str, settings: Settings, cli: Cli) -> None:
    key = cli("keys", "create", "shop").stdout.strip()
    batch = json.dumps([event(n) for n in range(40)]).encode()
    first, again = post(web, batch, key), post(web, batch, key)
    assert first == again, "a batch that is sent twice is the same"
    assert (first[0], first[1]["events"], first[1]["usable"], first[1]["problems"]) == (202, 40, 40, [])
    assert len(Inbox.of(settings).batches()) == 1
    lines = [json.dumps(event(n)) for n in (39, 40)] + ["{no json", json.dumps({"user": "u1", "kind": "stare"})]
    status, answer = post(web, "\n".join(lines).encode(), key, "application/x-ndjson")
    assert (status, answer["events"], answer["usable"]) == (202, 4, 2)
    assert [(problem["index"], problem["reason"]) for problem in answer["problems"]] == [
        (2, "not_json"),
        (3, "missing_item"),
    ]

    def stored() -> bool:
        return not Inbox.of(settings).batches() and rows(settings, "events").height == 41

    app = "segadmin_worker.app"
    with redis_server(settings), worker(settings, app=app), beat(settings, app=app):
        wait_until(stored, 60, "the events are in the lake")
        post(web, batch, key)  # long after: the shop did not hear the first answer
        wait_until(lambda: not Inbox.of(settings).batches(), 60, "the repetition was read")
        wait_until(lambda: rows(settings, "quarantine").height == 43, 30, "all else is in quarantine")
    assert rows(settings, "events").height == 41
    reasons = dict(rows(settings, "quarantine")["reason"].value_counts().iter_rows())
    assert reasons == {"duplicate_event": 41, "not_json": 1, "missing_item": 1}


def test_events_are_not_kept_in_a_folder_that_is_not_the_store(
    web: str, shared: Settings, kept: Callable[[], list[Path]], cli: Cli
) -> None:
    key = cli("keys", "create", "mounted").stdout.strip()
    assert post(web, json.dumps(event(1)).encode(), key)[0] == 202
    away = shared.store_path.rename(shared.root / "away")
    try:
        assert post(web, json.dumps(event(2)).encode(), key)[0] == 503
        shared.store_path.mkdir()  # where a disk is to be mounted
        assert post(web, json.dumps(event(2)).encode(), key)[0] == 503
    finally:  # the other tests need it
        shutil.rmtree(shared.store_path, ignore_errors=True)
        away.rename(shared.store_path)
    assert post(web, json.dumps(event(2)).encode(), key)[0] == 202
    assert len(kept()) == 2


def test_posted_numbers_keep_their_digits(web: str, shared: Settings, kept: Callable[[], list[Path]], cli: Cli) -> None:
    key = cli("keys", "create", "exact").stdout.strip()
    exact = (
        '{"user": 12345678901234567890, "kind": "view", "item": "a", "at": 1767225600, "price": 12.50, "x": [1e400]}'
    )
    assert post(web, f"[{exact}]".encode(), key)[1]["usable"] == 1
    [batch] = kept()
    assert batch.read_text() == f"{exact}\n"
    status, answer = post(web, json.dumps(event(1) | {"segadmin:problem": "bot"}).encode(), key)
    assert (status, answer["problems"][0]["reason"]) == (202, "reserved_name")


def test_refused_requests_are_answered_with_problem_details(
    web: str, shared: Settings, kept: Callable[[], list[Path]], cli: Cli
) -> None:
    body = json.dumps(event(1)).encode()
    assert post(web, body)[0] == 401
    status, answer = post(web, body, "seg_guess")
    assert (status, answer["title"]) == (401, "Unauthorized")
    assert "segadmin keys create NAME" in answer["detail"]
    key = json.loads(cli("keys", "create", "refused", "--json").stdout)["key"]
    basic = {"Authorization": "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()}
    assert post(web, body, **basic)[0] == 401, "a browser sends a password along with what other sites make it send"
    reader = cli("keys", "create", "me", "--pages").stdout.strip()
    assert post(web, body, reader)[0] == 403
    for broken, message in (
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"[]", "no events"),
        (b"[" * 100_000, "not JSON"),
    ):
        status, answer = post(web, broken, key)
        assert (status, answer["status"]) == (400, 400)
        assert message in answer["detail"]
    assert post(web, b" " * (10 * 2**20 + 1), key)[0] == 413
    assert not kept(), "nothing that was refused is kept"
    status, answer = post(web, '{"user": "u\\ud83d", "text": "\\u0000\\r\\n🙂"}'.encode(), key)
    assert (status, answer["usable"], answer["problems"][0]["reason"]) == (202, 0, "missing_item")
    listed = json.loads(cli("keys", "list", "--json").stdout)
    opens = {listed_key["name"]: listed_key["opens"] for listed_key in listed}
    assert (opens["refused"], opens["me"]) == ("events", "pages")
    assert not any("sha256" in listed_key for listed_key in listed)
    described = urllib.request.Request(f"{web}/openapi.json", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(described, timeout=10) as answer:
        description = json.load(answer)
        answers = description["paths"]["/v1/events"]["post"]["responses"]
    cli("keys", "revoke", "refused")
    status, problem = post(web, body, key)
    assert status == 401
    [content] = answers["401"]["content"].items()
    assert content == ("application/problem+json", {"schema": {"$ref": "#/components/schemas/HttpProblem"}})
    assert set(description["components"]["schemas"]["HttpProblem"]["properties"]) == set(problem)
    assert "Did you mean 'refused'" not in cli("keys", "revoke", "refused", check=False).stderr


def test_a_user_is_erased_from_waiting_posted_events(web: str, kept: Callable[[], list[Path]], cli: Cli) -> None:
    key = cli("keys", "create", "forgotten").stdout.strip()
    post(web, json.dumps([event(1, user="leaver"), event(2, user="stayer")]).encode(), key)
    assert "(inbox: 1)" in cli("data", "forget", "leaver", "--yes").stdout
    [batch] = kept()
    assert [json.loads(line)["user"] for line in batch.read_text().splitlines()] == ["stayer"]


def test_json_is_read_whatever_its_content_type(web: str, cli: Cli) -> None:
    """snowplow/snowplow-javascript-tracker 778, wikimedia/eventgate 6: ``sendBeacon`` sends JSON as plain text."""
    key = cli("keys", "create", "beacon").stdout.strip()
    body = json.dumps(event(1)).encode()
    for kind in ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/octet-stream"):
        status, answer = post(web, body, key, kind)
        assert (status, answer["usable"]) == (202, 1)
    status, answer = post(web, b"data=%7B%22user%22%3A1%7D", key, "application/x-www-form-urlencoded")
    assert (status, "not JSON" in answer["detail"]) == (400, True)
