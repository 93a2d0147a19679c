from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from segadmin.settings import Settings
from segadmin_worker import state
from segadmin_worker.state import ServiceState, ServiceStatus, Status


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is not the supervisor's."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def _status(pid: int, created: float) -> Status:
    service = ServiceStatus("beat", ServiceState.RUNNING, pid, created, 0, "", "/beat.log")
    return Status(2**22 + 1, 1.0, (service,))  # a supervisor that is gone: no pid is that large


def test_what_is_written_is_read(settings: Settings) -> None:
    settings.run_path.mkdir(parents=True)
    status = _status(17, 23.5)
    state.write(settings, status)
    assert state.read(settings) == status


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}', '{"parts": [{"state": "asleep"}]}'])
def test_an_unreadable_status_is_none(settings: Settings, text: str) -> None:
    settings.run_path.mkdir(parents=True)
    state.path(settings).write_text(text)
    assert state.read(settings) is None


def test_a_process_is_known_by_pid_and_start() -> None:
    own = psutil.Process()
    assert state.process_of(own.pid, own.create_time()) == own
    assert state.process_of(own.pid, own.create_time() - 60) is None
    assert state.process_of(None, None) is None


def test_a_recycled_pid_is_never_stopped(settings: Settings, bystander: subprocess.Popen[bytes]) -> None:
    settings.run_path.mkdir(parents=True)
    started_before = psutil.Process(bystander.pid).create_time() - 3600
    state.write(settings, _status(bystander.pid, started_before))
    state.stop_leftovers(settings)
    assert bystander.poll() is None


def test_a_leftover_is_stopped(settings: Settings, bystander: subprocess.Popen[bytes]) -> None:
    settings.run_path.mkdir(parents=True)
    state.write(settings, _status(bystander.pid, psutil.Process(bystander.pid).create_time()))
    state.stop_leftovers(settings)
    assert not psutil.pid_exists(bystander.pid)


def test_a_service_that_ignores_sigterm_is_killed_with_its_children() -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"  # at once: both write here
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = {int(process.stdout.readline()) for _ in range(2)}
    assert process.pid in pids
    state.stop([psutil.Process(process.pid)], grace=0.2)
    process.stdout.close()
    process.wait(5)
    assert not any(_alive(pid) for pid in pids - {process.pid})


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
