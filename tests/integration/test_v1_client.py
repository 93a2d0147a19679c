"""``segadmin.Client``, its asynchronous twin, and ``segadmin --server``: repeated, with the errors of the server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

import segadmin
from segadmin.errors import (
    AccessRefused,
    ConfigurationError,
    InvalidTransition,
    JobNotFound,
    KeyReused,
    ModelNotFound,
    ServerUnavailable,
    Stale,
    UserNotFound,
)
from segadmin.storage.records import Scope
from segadmin_api.client import answers, calls
from segadmin_api.client.operations import Operation, Operations
from segadmin_api.schemas.jobs import JobFilter
from tests.api import Api
from tests.conftest import Cli
from tests.planted import LABELS


@contextmanager
def connected(api: Api, scope: Scope = Scope.ADMIN, url: str = "") -> Iterator[Any]:
    with segadmin.Client(url or api.url, api.keys[scope]) as client:
        yield client


def test_the_client_reads_and_asks(api: Api) -> None:
    with connected(api) as client:
        done = client.enqueue("refresh", {"labels": LABELS}, key="client-1")
        assert client.enqueue("refresh", {"labels": LABELS}, key="client-1").job == done.job
        assert client.show_job(done.job).options["labels"] == LABELS
        assert client.cancel_job(done.job).state == "cancelled"
        assert client.retry_job(done.job).job.state == "queued"
        assert client.cancel_jobs(JobFilter(numbers=[done.job])).done == 1
        page = client.list_jobs(kind=["refresh"], limit=1)
        assert [job.id for job in page.items] == [done.job]
        assert client.show_model().id == client.show_model(1).champion == 1
        assert client.compare_models(1).lead == 0.0
        assert sum(segment.users for segment in client.show_snapshot().segments) == 240
        members = client.list_members(1, limit=200)
        assert len(members.items) + len(client.list_members(1, cursor=members.next).items) == 240
        assert client.show_user("user-1").history[0].snapshot_id == 1
        assert client.show_user_text("user-1").phrases
        assert client.whoami().opens == "admin"
        assert [labels.name for labels in client.list_label_sets().items] == [LABELS]


def test_the_asynchronous_client_has_the_same_methods(api: Api) -> None:
    async def read() -> tuple[int, int, str]:
        async with segadmin.AsyncClient(api.url, api.keys[Scope.OPERATOR]) as client:
            models, snapshot = await asyncio.gather(client.list_models(), client.show_snapshot())
            done = await client.enqueue("compact")
            return len(models.items), snapshot.users, (await client.cancel_job(done.job)).state

    models, users, state = asyncio.run(read())
    assert (users, state) == (240, "cancelled")
    assert models >= 1


def test_every_call_is_a_method() -> None:
    made = {name for name, value in vars(Operations).items() if isinstance(value, Operation)}
    functions = {name for name, value in vars(calls).items() if getattr(value, "__module__", "") == calls.__name__}
    assert made == {name for name in functions if name.islower() and not name.startswith("_")}
    for name in made:
        assert getattr(segadmin.Client, name).__doc__


def test_errors_are_those_of_the_server(api: Api) -> None:
    with connected(api) as client:
        with pytest.raises(JobNotFound, match="There is no job 999999"):
            client.show_job(999999)
        with pytest.raises(ModelNotFound):
            client.show_model(999)
        with pytest.raises(UserNotFound):
            client.show_user("nobody/at all?")
        with pytest.raises(ConfigurationError, match="no option 'labls'"):
            client.enqueue("refresh", {"labls": "x"})
        job = client.enqueue("compact", key="client-2").job
        with pytest.raises(KeyReused):
            client.enqueue("refresh", {"labels": LABELS}, key="client-2")
        client.cancel_job(job)
        with pytest.raises(InvalidTransition):
            client.cancel_job(job)
        with pytest.raises(Stale, match="is version 1, and not version 7"):
            client.promote_model(1, champion=7)
    with connected(api, Scope.VIEWER) as client, pytest.raises(AccessRefused, match="for viewer, and not for operator"):
        client.enqueue("compact")
    with segadmin.Client(api.url, "seg_wrong") as client, pytest.raises(AccessRefused, match="There is no such key"):
        client.whoami()


@pytest.mark.parametrize(
    "server", ["", "shop.example", "ftp://shop", "http://", "http://u:s3cret@shop", "http://h:99999", "http://h?x"]
)
def test_an_address_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a server") as refused:
        segadmin.Client(server, "seg_key")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", " ", "seg_\n", "seg_ü"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="--key is missing"):
        segadmin.Client("http://127.0.0.1:1", key)


@contextmanager
def flaky_proxy(target: str, answer_lost: int, refused: int) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that refuses the first requests with 503, and loses the answers to the next ones."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.headers.get("Idempotency-Key", ""))
            if len(seen) <= refused:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}
            }
            answer = httpx.post(target + self.path, content=body, headers=headers, timeout=60)
            if len(seen) <= refused + answer_lost:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_lost_answer_makes_no_second_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE", 0.01)
    before = {job["id"] for job in api.get("/v1/jobs?kind=compact&limit=1000")["items"]}
    with flaky_proxy(api.url, answer_lost=2, refused=1) as (url, seen), connected(api, url=url) as client:
        done = client.enqueue("compact")
        assert len(seen) == 4
        assert len(set(seen)) == 1, "all under one key"
        assert done.created is False, "the first request that came through made it"
        made = {job["id"] for job in api.get("/v1/jobs?kind=compact&limit=1000")["items"]} - before
        assert made == {done.job}
    with flaky_proxy(api.url, answer_lost=9, refused=0) as (url, seen), connected(api, url=url) as client:
        with pytest.raises(ServerUnavailable, match="does not answer"):
            client.cancel_job(done.job)
        assert len(seen) == 1, "it has no key, so it is not repeated"


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE", 0.01)
    with (
        segadmin.Client("http://127.0.0.1:9", "seg_key") as client,
        pytest.raises(ServerUnavailable, match="does not answer"),
    ):
        client.whoami()


def test_commands_work_on_a_server(api: Api, cli: Cli) -> None:
    where = {"SEGADMIN_SERVER": api.url, "SEGADMIN_KEY": api.keys[Scope.OPERATOR]}
    asked = cli("enqueue", "refresh", "--labels", LABELS, "--key", "remote-1", **where).stdout
    number = asked.split()[3]
    assert f"Saved as job {number} (refresh); it starts when the server's broker is back." in asked
    assert (
        "nothing new was enqueued" in cli("enqueue", "refresh", "--labels", LABELS, "--key", "remote-1", **where).stdout
    )
    listed = json.loads(cli("jobs", "list", "--json", "--limit", "1", **where).stdout)
    assert [str(job["id"]) for job in listed] == [number]
    assert f"job {number} · refresh · queued" in cli("jobs", "show", number, **where).stdout
    assert "is cancelled" in cli("jobs", "cancel", number, **where).stdout
    watched = cli("jobs", "watch", number, check=False, **where)
    assert (watched.returncode, "cancelled on request" in watched.stderr) == (1, True)
    assert "continues" in cli("jobs", "retry", number, **where).stdout
    cli("jobs", "cancel", number, **where)
    assert "champion" in cli("models", "list", **where).stdout
    assert "model version 1" in cli("models", "show", "champion", **where).stdout
    assert LABELS in cli("snapshots", "list", **where).stdout
    assert "240 users" in cli("snapshots", "show", **where).stdout
    assert "user " in cli("users", "show", "user-1", "--text", **where).stdout
    entry = api.get("/v1/audit?action=users&limit=1")["items"][0]
    assert entry["actor"] == "key the operator"
    refused = cli("jobs", "show", "999", check=False, **where)
    assert (refused.returncode, refused.stderr.startswith("Error: There is no job 999.")) == (1, True)


@pytest.mark.parametrize(
    "words", [("data", "list"), ("jobs", "trials", "1"), ("keys", "list"), ("models", "promote", "1"), ("up",)]
)
def test_commands_of_this_machine_do_not_work_on_a_server(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli("--server", "http://127.0.0.1:9", "--key", "seg_x", *words, check=False)
    assert (done.returncode, "works only on the machine itself" in done.stderr.replace("\n", " ")) == (2, True)


def test_a_command_without_a_key_says_how(cli: Cli) -> None:
    done = cli("--server", "http://127.0.0.1:9", "jobs", "list", check=False)
    assert (done.returncode, "Set SEGADMIN_KEY" in done.stderr) == (1, True)
