"""Posts are refused before the wait for them grows, and whoever comes again as told gets everything in."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from fastapi import HTTPException

from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.lake import Lake
from segadmin_api.http.admission import Admission
from tests.servers import web_server


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pace(admission: Admission, clock: Clock, seconds: float) -> None:
    """Let posts one after the other take so many seconds each, until the estimate follows."""
    for _ in range(100):
        with admission.lease(0):
            clock.now += seconds


def refusal(admission: Admission, size: int = 0) -> int | None:
    """Return the seconds of ``Retry-After``; ``None`` if a post is admitted."""
    try:
        admission.check(size)
    except HTTPException as error:
        assert error.status_code == 429
        assert error.headers is not None
        return int(error.headers["Retry-After"])
    return None


def test_as_many_posts_are_admitted_as_can_be_answered_in_time() -> None:
    clock = Clock()
    admission = Admission(1.0, clock)
    pace(admission, clock, 0.1)
    with ExitStack() as posts:
        admitted = 0
        while refusal(admission) is None:
            posts.enter_context(admission.lease(0))
            admitted += 1
        assert admitted in {10, 11}
        with pytest.raises(HTTPException):
            posts.enter_context(admission.lease(0))
    assert refusal(admission) is None


def test_a_large_post_is_admitted_as_a_small_one_is_and_counts_for_more() -> None:
    clock = Clock()
    admission = Admission(1.0, clock)
    pace(admission, clock, 0.1)
    with admission.lease(10 * 2**20):
        assert refusal(admission) is not None
        assert refusal(admission, 10 * 2**20) is not None
    with admission.lease(0):
        assert refusal(admission, 10 * 2**20) is None, "small ones must not keep it out for ever"


def test_a_post_that_takes_longer_than_expected_keeps_others_out() -> None:
    clock = Clock()
    admission = Admission(1.0, clock)
    with admission.lease(0):
        assert refusal(admission) is None
        clock.now += 5.0
        assert refusal(admission) is not None
    assert refusal(admission) is None


def test_after_a_disk_that_stood_still_posts_are_admitted_again() -> None:
    clock = Clock()
    admission = Admission(1.0, clock)
    pace(admission, clock, 60.0)
    assert refusal(admission) is None, "with nothing in progress there is nothing to wait for"
    pace(admission, clock, 0.01)
    with admission.lease(0):
        assert refusal(admission) is None


def test_a_post_that_fails_gives_its_place_back() -> None:
    admission = Admission(1.0, Clock())
    with pytest.raises(ValueError, match="no JSON"), admission.lease(10 * 2**20):
        raise ValueError("no JSON")
    assert admission.wait == 0.0


def test_those_refused_together_come_again_one_after_the_other() -> None:
    clock = Clock()
    admission = Admission(1.0, clock)
    pace(admission, clock, 0.1)
    with admission.lease(2**20):
        pauses = [refusal(admission) or 0 for _ in range(100)]
        assert pauses == sorted(pauses)
        assert max(pauses) - min(pauses) in {9, 10}, "100 posts of 0.1 s"
    clock.now += 60.0
    with admission.lease(2**20):
        assert refusal(admission) in {3, 4, 5}, "those have come by now"


@pytest.mark.parametrize("limit", ["0.001", "0.05"])
def test_a_client_that_honours_retry_after_gets_everything_in(settings: Settings, limit: str) -> None:
    database.ensure_schema(settings)
    statuses: list[int] = []
    lock = threading.Lock()
    with web_server(settings, SEGADMIN_WEB_EVENTS_SECONDS=limit) as url:
        key = api_keys.create(settings, "shop")

        def client(number: int) -> None:
            for place in range(3):
                event = {"user": f"u{number}", "kind": "view", "item": "i", "at": "2026-01-31", "n": f"{place}"}
                body = json.dumps(event | {"event_id": f"{number}-{place}"})
                while (answer := post(url, key, body)).status_code != 202:
                    assert answer.status_code == 429
                    pause = answer.headers["Retry-After"]
                    assert f"Send these again in {pause} s." in answer.json()["detail"]
                    with lock:
                        statuses.append(answer.status_code)
                    time.sleep(int(pause))

        clients = [threading.Thread(target=client, args=(number,)) for number in range(20)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    assert statuses or limit != "0.001", "twenty at once are more than one at a time"
    assert len(Inbox.of(settings).batches()) == 60
    assert import_file(settings, ImportRequest("events", "inbox://"))[0].rows_kept == 60
    assert Lake.of(settings).scan("events").collect().height == 60


def test_a_refused_post_needs_no_key_and_leaves_nothing(settings: Settings) -> None:
    """What the server has no time for it refuses before it looks anything up."""
    database.ensure_schema(settings)
    with web_server(settings, SEGADMIN_WEB_EVENTS_SECONDS="0.001") as url:
        key = api_keys.create(settings, "shop")
        events = [{"user": f"u{n}", "kind": "view", "item": "i", "at": "2026-01-31"} for n in range(60_000)]
        large = threading.Thread(target=post, args=(url, key, json.dumps(events)))
        large.start()
        while large.is_alive() and (answer := post(url, "seg_wrong", "{}")).status_code != 429:
            assert answer.status_code == 401
        large.join()
        assert answer.status_code == 429
    [batch] = Inbox.of(settings).batches()
    assert len(batch.read_bytes().splitlines()) == 60_000


def post(url: str, key: str, body: str) -> httpx.Response:
    """Return the answer to posted events; reading the certificates for a URL of HTTP would take most of the time."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/events", content=body, headers=headers, timeout=60, verify=False)
