"""Each part as its own process, the way a deployment runs it."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from segadmin.settings import Settings
from segadmin_worker.services import free_port
from tests.conftest import Cli
from tests.servers import redis_server, stop, wait_until


@contextmanager
def part(settings: Settings, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a part; yields its process and its log."""
    settings.root.mkdir(parents=True, exist_ok=True)
    log = settings.root / "part.log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "segadmin_api.cli", *words], stdout=file, stderr=file)
    try:
        yield process, log
    finally:
        stop(process)


def test_beat_runs_without_a_broker_and_ends_on_sigterm(settings: Settings) -> None:
    with part(settings, "beat") as (process, log):
        wait_until(lambda: "beat: Starting" in log.read_text(), 60, "beat started")
        process.terminate()
        assert process.wait(20) == 0


def test_flower_needs_a_password_that_no_process_list_shows(settings: Settings) -> None:
    port = free_port(0)
    with redis_server(settings), part(settings, "flower", "--port", str(port)) as (process, log):
        wait_until(lambda: _status(port, "/healthcheck") == 200, 60, "Flower answers")
        assert _status(port, "/") == 401
        password = settings.flower_login().partition(":")[2]
        shown = " ".join(psutil.Process(process.pid).cmdline())
        assert "flower" in shown
        assert password not in shown
        assert password not in log.read_text()
        listening = {line.laddr.ip for line in psutil.Process(process.pid).net_connections() if line.status == "LISTEN"}
        assert listening == {"127.0.0.1"}


def test_a_service_refuses_the_database_of_another_version(cli: Cli, settings: Settings) -> None:
    url = f"sqlite:///{settings.root.parent / 'empty.db'}"
    for words in (["worker"], ["beat"]):
        done = cli(*words, check=False, SEGADMIN_DATABASE_URL=url)
        assert done.returncode == 1
        assert "Run: segadmin db upgrade" in done.stderr


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
