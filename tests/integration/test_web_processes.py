"""Several server processes on one port: together they keep what a server of one process keeps."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from sqlmodel import select

from segadmin.events.inbox import Inbox
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, Scope
from segadmin_api.http.guesses import BURST
from segadmin_worker.services import LOOPBACK, free_port
from tests.planted import through_the_engine
from tests.servers import PATH, stop, wait_until

#: Requests a second, and streams, of the server.
RATE, STREAMS = 0.5, 2


@dataclass(frozen=True)
class Server:
    """A server of two processes."""

    settings: Settings
    url: str
    process: subprocess.Popen[bytes]

    @property
    def children(self) -> list[psutil.Process]:
        """The processes that answer."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if _answers(child)]

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self.settings.root / "web.log").read_text()

    @contextmanager
    def each(self) -> Iterator[tuple[httpx.Client, httpx.Client]]:
        """Yield a client of each process, whose requests the other one cannot take."""
        one, other = self.children
        with self._client_of(one, other) as first, self._client_of(other, one) as second:
            try:
                yield first, second
            finally:  # a request may have failed
                one.resume()
                other.resume()

    @contextmanager
    def _client_of(self, process: psutil.Process, other: psutil.Process) -> Iterator[httpx.Client]:
        def alone(_request: httpx.Request) -> None:
            other.suspend()

        def both(answer: httpx.Response) -> None:
            other.resume()

        hooks: dict[str, list[Callable[..., None]]] = {"request": [alone], "response": [both]}
        headers = {"Connection": "close"}
        with httpx.Client(base_url=self.url, headers=headers, event_hooks=hooks, timeout=60) as client:
            yield client


def _answers(child: psutil.Process) -> bool:
    """Return whether a child of the server answers requests: one that was killed stays for a moment."""
    try:
        return any("multiprocessing.spawn" in word for word in child.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@contextmanager
def server_of_two(settings: Settings, **environment: str) -> Iterator[Server]:
    """Run a server of two processes, which both answer."""
    settings.root.mkdir(parents=True, exist_ok=True)
    port = free_port(0)
    command = [sys.executable, "-m", "segadmin_api.cli", "web", "--port", str(port), "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": PATH, "SEGADMIN_HOME": str(settings.root), **environment}
    with (settings.root / "web.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    server = Server(settings, f"http://{LOOPBACK}:{port}", process)
    try:
        wait_until(lambda: server.log.count("startup complete") == 2, 60, "both processes answer")
        yield server
    finally:
        stop(process)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests that do not end it; clients of each have a key of their own."""
    home = tmp_path_factory.mktemp("processes") / "home"
    limits = {"SEGADMIN_WEB_REQUESTS_PER_SECOND": str(RATE), "SEGADMIN_WEB_STREAMS": str(STREAMS)}
    with server_of_two(Settings(home=home), SEGADMIN_INBOX_SECONDS="3600", **limits) as server:
        yield server


def bearer(server: Server, name: str, scope: Scope = Scope.VIEWER) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_keys.create(server.settings, name, scope)}"}


def counts_of(server: Server) -> Path:
    """Return the file in which the processes count together."""
    open_files = [{file.path for file in child.open_files()} for child in server.children]
    [counts] = [path for path in set.intersection(*open_files) if path.endswith("counts.db")]
    return Path(counts)


def test_both_answer_and_the_log_says_which(server: Server) -> None:
    with server.each() as clients:
        for number, client in enumerate(clients):
            assert client.get(f"/healthz?{number}").json() == {"status": "ok"}
    lines = [line for line in server.log.splitlines() if "/healthz" in line]
    assert {int(pid) for line in lines for pid in re.findall(r" pid=(\d+)", line)} == {
        child.pid for child in server.children
    }


def test_wrong_keys_are_counted_together(server: Server) -> None:
    right = bearer(server, "right")
    with server.each() as (one, other):

        def guess(client: httpx.Client, number: int) -> int:
            headers = {"Authorization": f"Bearer seg_{number:012}"}
            return client.get("/v1/jobs", headers=headers).status_code

        assert one.get("/v1/jobs", headers=right).status_code == 200
        answers = [guess((one, other)[number % 2], number) for number in range(BURST + 4)]
        assert answers[:BURST] == [401] * BURST
        assert 429 in answers[BURST:], "slowed down as by one process"
        assert 429 in (guess(one, 100), guess(other, 101))
        assert other.get("/v1/jobs", headers=right).status_code == 200, "who has a right key is not"


def test_requests_of_a_key_are_counted_together(server: Server) -> None:
    headers = bearer(server, "fast")
    with server.each() as clients:
        answers = [clients[number % 2].get("/v1/jobs", headers=headers) for number in range(12)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:5] == [200] * 5, "a burst of ten seconds' worth"
    assert 429 in statuses
    refused = answers[statuses.index(429)]
    assert 1 <= int(refused.headers["Retry-After"]) <= 2


def test_a_session_of_one_is_valid_at_the_other(server: Server) -> None:
    key = api_keys.create(server.settings, "person", Scope.OPERATOR)
    with server.each() as (one, other):
        [form] = re.findall(r'name="csrf_token" value="([^"]+)"', one.get("/login").text)
        other.cookies = one.cookies
        answer = other.post("/login", data={"csrf_token": form, "key": key, "next": "/jobs"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
        one.cookies = other.cookies
        who = one.get("/v1/whoami").json()
        assert who["name"] == "person"
        token = {"X-CSRF-Token": who["csrf_token"]}
        assert other.post("/v1/jobs/cancel", json={"kinds": ["none"]}, headers=token).status_code == 200


def test_a_job_that_is_asked_for_at_both_is_one(server: Server) -> None:
    headers = {**bearer(server, "twice", Scope.OPERATOR), "Idempotency-Key": "once"}
    with server.each() as clients:
        asked = {"kind": "compact", "options": {}}
        answers = [client.post("/v1/jobs", json=asked, headers=headers) for client in clients]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["job"] == answers[1].json()["job"]


def test_events_that_are_posted_to_both_are_counted_once(server: Server) -> None:
    headers = bearer(server, "shop", Scope.EVENTS)

    def batch(numbers: range) -> list[dict[str, str]]:
        at = "2026-01-31T18:05:00Z"
        return [{"user": f"u{n % 5}", "kind": "view", "item": f"i{n}", "at": at, "event_id": f"e{n}"} for n in numbers]

    with server.each() as (one, other):
        for client, numbers in ((one, range(20)), (other, range(20)), (other, range(10, 30))):
            assert client.post("/v1/events", json=batch(numbers), headers=headers).status_code == 202
    assert len(Inbox.of(server.settings).batches()) == 2
    with reading(server.settings) as session:
        assert len(session.exec(select(Job).where(Job.kind == "ingest")).all()) == 1, "one import for both"
    options = check_request(server.settings, "ingest", {"where": "inbox://"})
    through_the_engine(server.settings, "ingest", options)
    assert Lake.of(server.settings).scan("events").collect().height == 30


def test_streams_are_divided(server: Server) -> None:
    headers = bearer(server, "watcher")
    options = check_request(server.settings, "compact", {})
    job = enqueue(server.settings, lambda _messages: None, "compact", options).job.id
    with server.each() as (one, other), one.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as first:
        assert first.status_code == 200
        lines = first.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        assert one.get(f"/v1/jobs/{job}/events", headers=headers).status_code == 429
        with other.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as second:
            assert second.status_code == 200


def test_a_killed_process_is_replaced(server: Server) -> None:
    killed, stays = server.children
    killed.kill()
    wait_until(lambda: {child.pid for child in server.children} - {killed.pid, stays.pid}, 60, "another one starts")
    [new] = [child for child in server.children if child.pid != stays.pid]
    wait_until(lambda: f"startup complete. pid={new.pid}" in server.log, 60, "it answers")
    with server.each() as clients:
        assert [client.get("/healthz").status_code for client in clients] == [200, 200]


@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_ends_all(settings: Settings, number: signal.Signals, *, to_all: bool) -> None:
    with server_of_two(settings) as server:
        children = server.children
        counts = counts_of(server)
        if to_all:  # as Ctrl-C does
            os.killpg(server.process.pid, number)
        else:
            server.process.send_signal(number)
        assert server.process.wait(30) == 0
        assert not any(child.is_running() for child in children)
        assert not counts.parent.exists(), "nothing is left"
        assert "Traceback" not in server.log


def test_processes_end_when_their_parent_was_killed(settings: Settings) -> None:
    with server_of_two(settings) as server:
        children, counts = server.children, counts_of(server)
        server.process.kill()
        server.process.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
        assert not counts.parent.exists()


def test_a_server_that_cannot_start_ends(settings: Settings) -> None:
    settings.root.mkdir(parents=True)
    (settings.root / "segadmin.db").write_bytes(b"no database" * 100)
    command = [sys.executable, "-m", "segadmin_api.cli", "web", "--port", str(free_port(0)), "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": PATH}
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False, text=True)
    assert ended.returncode != 0
    assert "damaged" in ended.stderr
