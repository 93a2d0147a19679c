"""Messages that are not ours: whatever comes, the worker goes on, and an operator can read what it was."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import tests.probe  # noqa: F401  (adds the job kind)
from segadmin.jobs import control, quarantine
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings, get_settings
from segadmin_worker.client import dispatcher
from tests.conftest import Cli
from tests.servers import redis_server, wait_until, worker
from tests.stores import empty_store

pytestmark = pytest.mark.faults
QUEUE = "cpu:3"


def good(**changes: Any) -> dict[str, Any]:
    """Return a message as Celery sends it, with ``changes`` to its headers."""
    number = str(uuid.uuid4())
    headers = {
        "lang": "py", "task": "segadmin.prepare", "id": number, "root_id": number, "parent_id": None, "group": None,
        "retries": 0, "timelimit": [None, None], "eta": None, "expires": None, "shadow": None, "argsrepr": "",
        "kwargsrepr": "", "origin": "test", "ignore_result": True,
    }  # fmt: skip
    return {
        "body": encoded([[999_999], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers | changes,
        "properties": {
            "correlation_id": number,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "cpu"},
            "priority": 3,
            "body_encoding": "base64",
            "delivery_tag": number,
        },
    }


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def without(name: str) -> bytes:
    message = good()
    del message[name]
    return json.dumps(message).encode()


def changed(**parts: Any) -> bytes:
    return json.dumps(good() | {name.replace("_", "-"): part for name, part in parts.items()}).encode()


def body(value: object) -> bytes:
    return changed(body=encoded(value))


def tagless() -> bytes:
    message = good()
    del message["properties"]["delivery_tag"]
    return json.dumps(message).encode()


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.system, ("touch /tmp/segadmin-was-here",)


LINK = {"task": "segadmin.prepare", "args": [1], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SHAPES: dict[str, bytes] = {
    "the envelope is not JSON": b"{not json",
    "the envelope is a list": b"[1, 2, 3]",
    "the envelope is null": b"null",
    "the envelope is not UTF-8": b'{"body": "\xff\xfe"}',
    "the envelope is nested deeply": b"[" * 20_000,
    "the envelope is large": json.dumps(good() | {"more": "x" * 2_000_000}).encode(),
    "there are no properties": without("properties"),
    "there are no headers": without("headers"),
    "there is no delivery tag": tagless(),
    "the headers are null": changed(headers=None),
    "the headers are a list": changed(headers=[1]),
    "the body is not base64": changed(body="%%% not base64 %%%"),
    "the body is null": changed(body=None),
    "the body is an object": changed(body={"a": 1}),
    "the body is not JSON": changed(body=base64.b64encode(b"{nope").decode()),
    "the body is too short": body([[1]]),
    "the argument is text": body([["1; DROP TABLE step"], {}, EMBEDDED]),
    "there are two arguments": body([[1, 2], {}, EMBEDDED]),
    "there are options": body([[1], {"evil": True}, EMBEDDED]),
    "retries is text": json.dumps(good(retries="many")).encode(),
    "timelimit is text": json.dumps(good(timelimit="soon")).encode(),
    "timelimit holds text": json.dumps(good(timelimit=["a", "b"])).encode(),
    "eta is nonsense": json.dumps(good(eta="yesterday-ish")).encode(),
    "expires is nonsense": json.dumps(good(expires={"at": 1})).encode(),
    "the task is unknown": json.dumps(good(task="os.system")).encode(),
    "the task is Celery's own": json.dumps(good(task="celery.chord_unlock")).encode(),
    "the task is a number": json.dumps(good(task=7)).encode(),
    "it has callbacks": body([[1], {}, EMBEDDED | {"callbacks": [LINK]}]),
    "it has a chain": body([[1], {}, EMBEDDED | {"chain": [LINK]}]),
    "it has a chord": body([[1], {}, EMBEDDED | {"chord": LINK}]),
    "it is pickled": changed(
        content_type="application/x-python-serialize", body=base64.b64encode(pickle.dumps(Bomb())).decode()
    ),
    "the content type is unknown": changed(content_type="application/evil"),
}  # fmt: skip


def succeeds(settings: Settings) -> None:
    """Enqueue a job and wait until it has succeeded."""
    job = enqueue(settings, dispatcher(settings), "probe", {}).job.id or 0
    wait_until(lambda: control.view(settings, job).job.state == "succeeded", 30, "a job after it succeeds")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, int]]:
    """A shop with one worker, whose main process must survive the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGADMIN_HOME", str(tmp_path_factory.mktemp("hostile") / "home"))
        get_settings.cache_clear()
        settings = get_settings()
        empty_store(settings)
        with redis_server(settings), worker(settings, concurrency=1) as process:
            succeeds(settings)
            yield settings, process.pid
            assert process.poll() is None, "the worker ended"
    get_settings.cache_clear()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_foreign_message_is_quarantined(home: tuple[Settings, int], shape: str) -> None:
    settings, _ = home
    quarantine.clear(settings)
    client = redis.Redis(unix_socket_path=str(settings.redis_socket))
    client.lpush(QUEUE, SHAPES[shape])
    succeeds(settings)
    [kept] = quarantine.list_messages(settings)
    assert (kept.queue, kept.size > 0, bool(kept.reason)) == ("cpu", True, True)
    # The job is done a moment before its own message is acknowledged.
    wait_until(lambda: client.hlen("unacked") == 0, 10, "every message is acknowledged")
    client.close()


@pytest.mark.parametrize("message", [b"{no", b"[]", b"7", b'{"body": 1}', json.dumps(good()).encode()])
def test_a_foreign_control_message(home: tuple[Settings, int], message: bytes) -> None:
    settings, _ = home
    client = redis.Redis(unix_socket_path=str(settings.redis_socket))
    assert client.publish("/0.celery.pidbox", message) == 1, "the worker listens there"
    succeeds(settings)
    client.close()


def test_quarantined_messages_are_listed_and_deleted(home: tuple[Settings, int], settings: Settings, cli: Cli) -> None:
    assert "No message is in quarantine" in cli("jobs", "quarantine").stdout
    quarantine.set_aside(settings, "cpu", "a reason", b"nul \x00 and \xff", "here")
    shown = json.loads(cli("jobs", "quarantine", "--json").stdout)
    assert [(message["queue"], message["reason"], message["message"]) for message in shown] == [
        ("cpu", "a reason", "nul \\x00 and \\xff")
    ]
    assert "a reason" in cli("jobs", "quarantine").stdout
    assert "Deleted 1" in cli("jobs", "quarantine", "--clear").stdout
