from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_worker import redis_server, state, supervisor
from segadmin_worker.services import Service, redis_service
from segadmin_worker.state import ServiceState, ServiceStatus
from segadmin_worker.supervisor import Supervisor
from tests.conftest import Cli
from tests.servers import wait_until

#: Says that it is ready as beat does, and then stays.
STAYS = (sys.executable, "-c", "import time; print('beat: Starting', flush=True); time.sleep(120)")
CRASHES = (sys.executable, "-c", "import sys; sys.exit('no such setting')")


@contextmanager
def running(settings: Settings, *services: Service) -> Iterator[Callable[[str], ServiceStatus]]:
    """Supervise ``services`` in a thread; yields how to look one up."""
    supervisor = Supervisor(settings, services)
    thread = threading.Thread(target=supervisor.run)
    thread.start()

    def look(name: str) -> ServiceStatus:
        status = state.read(settings)
        assert status is not None
        return next(service for service in status.services if service.name == name)

    try:
        wait_until(lambda: state.read(settings) is not None, 10, "the status is written")
        yield look
    finally:
        supervisor.stop()
        thread.join(60)
    assert not thread.is_alive()


def is_running(look: Callable[[str], ServiceStatus], name: str) -> bool:
    return look(name).state == ServiceState.RUNNING


def ask_redis(settings: Settings, *words: str) -> Any:
    with redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True) as client:
        return client.execute_command(*words)


def test_a_killed_redis_is_restarted_with_its_data(settings: Settings) -> None:
    with running(settings, redis_service(settings)) as look:
        wait_until(lambda: is_running(look, "redis"), 15, "Redis runs")
        ask_redis(settings, "LPUSH", "cpu", "a message")
        first = look("redis").process
        assert first is not None
        first.kill()
        wait_until(lambda: look("redis").restarts == 1 and is_running(look, "redis"), 15, "Redis runs again")
        assert look("redis").pid != first.pid
        assert ask_redis(settings, "LRANGE", "cpu", "0", "-1") == ["a message"]
        assert settings.redis_socket.stat().st_mode & 0o777 == 0o600
        last = look("redis").process
    assert not redis_server.answers(settings)
    assert last is not None
    assert not last.is_running()
    assert state.read(settings) is None


def test_redis_runs_in_a_home_with_a_long_path(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("a long name " * 8) / ('another " one' * 4))
    with running(settings, redis_service(settings)) as look:
        wait_until(lambda: is_running(look, "redis"), 15, "Redis runs")
        assert ask_redis(settings, "PING")
        assert ask_redis(settings, "CONFIG", "GET", "dir")["dir"] == str(settings.root / "redis")


def test_a_service_that_keeps_crashing_is_given_up_and_others_continue(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_LIMIT", 0.05)
    with running(settings, Service("broken", CRASHES), Service("beat", STAYS)) as look:
        wait_until(lambda: look("broken").state == ServiceState.FAILED, 30, "given up")
        assert "5 crashes in a row" in look("broken").note
        assert "exit code 1" in look("broken").note
        assert Path(look("broken").log).read_text().count("no such setting") == supervisor.GIVE_UP_AFTER
        wait_until(lambda: is_running(look, "beat"), 15, "the other service runs")


def test_services_start_after_redis_and_stop_before_it(settings: Settings) -> None:
    with running(settings, redis_service(settings), Service("beat", STAYS)) as look:
        wait_until(lambda: is_running(look, "beat"), 15, "all run")
        redis_process, beat_process = look("redis").process, look("beat").process
        assert redis_process is not None
        assert beat_process is not None
        assert redis_process.create_time() <= beat_process.create_time()
    assert not redis_process.is_running()
    assert not beat_process.is_running()


def test_a_home_has_one_supervisor(settings: Settings) -> None:
    with running(settings, Service("beat", STAYS)), pytest.raises(ConfigurationError, match="runs already"):
        Supervisor(settings, []).run()


def test_children_of_a_killed_service_are_stopped(settings: Settings) -> None:
    forks = (
        "import os, time\nprint('beat: Starting', flush=True)\n"
        "child = os.fork()\nif child: print('child', child, flush=True)\ntime.sleep(120)"
    )
    with running(settings, Service("beat", (sys.executable, "-c", forks))) as look:
        log = settings.run_path / "beat.log"
        wait_until(lambda: "child" in log.read_text(), 15, "it forked")
        child = psutil.Process(int(log.read_text().split()[-1]))
        process = look("beat").process
        assert process is not None
        process.kill()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "its child is gone")


def test_down_and_status_report_when_nothing_runs(cli: Cli, settings: Settings) -> None:
    shown = cli("status", check=False)
    assert shown.returncode == 1
    assert f"Not running ({settings.root}). Start it: segadmin up --detach" in shown.stdout
    facts = cli("status", "--json", check=False)
    assert facts.returncode == 1
    assert json.loads(facts.stdout)["running"] is False
    assert "Nothing runs here" in cli("down").stdout


def test_down_leaves_a_recycled_pid_alone(cli: Cli, settings: Settings) -> None:
    settings.run_path.mkdir(parents=True)
    own = psutil.Process()
    service = ServiceStatus("beat", ServiceState.RUNNING, own.pid, own.create_time() - 3600, 0, "", "")
    state.write(settings, state.Status(own.pid, own.create_time() - 3600, (service,)))
    assert "Nothing runs here" in cli("down").stdout


def test_up_explains_why_it_cannot_start(cli: Cli) -> None:
    database = cli("up", "--detach", check=False, SEGADMIN_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert database.returncode == 1
    assert "cannot be used" in database.stderr


def test_up_does_not_wait_for_a_broker_that_is_down(cli: Cli) -> None:
    done = cli("up", "--detach", check=False, SEGADMIN_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "The broker redis://127.0.0.1:1/0 does not answer" in done.stderr


def test_up_shows_the_log_of_what_does_not_start(cli: Cli, settings: Settings) -> None:
    (settings.root / "redis").mkdir(parents=True)
    (settings.root / "redis" / "appendonly.aof").write_text("this is no append-only file")
    try:
        done = cli("up", "--detach", "--no-flower", check=False)
        assert done.returncode == 1
        assert "Error: redis does not run: given up after 5 crashes in a row" in done.stderr
        assert "Bad file format reading the append only file" in done.stderr
    finally:
        cli("down")


def test_up_stays_until_ctrl_c(settings: Settings) -> None:
    command = [sys.executable, "-m", "segadmin_api.cli", "up", "--no-flower", "--cpu", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(
            lambda: (status := state.read(settings)) and all(map(_runs, status.services)), 90, "all services run"
        )
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert re.search(r"^[\d-]+ [\d:]+ worker-gpu running$", output, re.M)
    assert not redis_server.answers(settings)
    assert not settings.redis_socket.exists()


def _runs(service: ServiceStatus) -> bool:
    return service.state == ServiceState.RUNNING


def test_up_status_and_down(cli: Cli, settings: Settings) -> None:
    try:
        done = cli("up", "--detach", "--cpu", "1")
        assert "Ready." in done.stdout
        facts = json.loads(cli("status", "--json").stdout)
        services = {service["name"]: service for service in facts["parts"]}
        assert {name: service["state"] for name, service in services.items()} == dict.fromkeys(
            ["redis", "worker-cpu", "worker-gpu", "beat", "flower", "web"], "running"
        )
        assert facts["queues"] == {"cpu": 0, "control": 0, "gpu": 0}
        assert all(service["memory_bytes"] > 1_000_000 for service in services.values())
        _flower_wants_a_password(settings, facts["flower_url"])
        assert "runs already" in cli("up", "--detach").stdout
        assert "runs already" in cli("up", check=False).stderr

        os.kill(facts["pid"], signal.SIGKILL)  # the supervisor: its services are left behind
        left = cli("status", check=False)
        assert left.returncode == 1
        assert "segadmin down" in left.stderr
    finally:
        cli("down")
    assert not [service["name"] for service in services.values() if psutil.pid_exists(service["pid"])]
    assert "Not running" in cli("status", check=False).stdout


def _flower_wants_a_password(settings: Settings, url: str) -> None:
    login = base64.b64encode(settings.flower_login().encode()).decode()
    for headers, expected in (({}, 401), ({"Authorization": f"Basic {login}"}, 200)):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/broker", headers=headers)
        assert connection.getresponse().status == expected
        connection.close()
