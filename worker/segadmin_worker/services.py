"""The services of a running segadmin: their names and commands."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from segadmin.errors import ConfigurationError
from segadmin.files import make_folder
from segadmin.settings import Settings
from segadmin_worker import redis_server

#: The queues of the two workers that ``segadmin up`` starts.
CPU_QUEUES, GPU_QUEUES = ("cpu", "control"), ("gpu",)
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Service:
    """One process: ``command``, run with ``environment`` added to the environment of this process."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    nodename: str = ""  #: the Celery node name, for a worker
    url: str = ""  #: the address of its pages
    health: str = ""  #: a path below ``url`` that returns 200 when the service is ready


def services_of_this_machine(
    settings: Settings, *, cpu: int, flower_port: int | None, web_port: int | None
) -> list[Service]:
    """Return the services that ``segadmin up`` starts, in start order.

    Args:
        settings: the settings of the services.
        cpu: the number of processes of the CPU worker.
        flower_port: ``None``: no Flower.
        web_port: ``None``: no HTTP API.

    Raises:
        ConfigurationError: the package of a service is not installed.
    """
    services = [redis_service(settings)] if settings.embedded_broker else []
    services += [
        worker_service(settings, CPU_QUEUES, cpu, "cpu@%h", "worker-cpu"),
        worker_service(settings, GPU_QUEUES, 1, "gpu@%h", "worker-gpu"),
        beat_service(settings),
    ]
    if flower_port is not None:
        services.append(flower_service(settings, LOOPBACK, flower_port))
    if web_port is not None:
        services.append(web_service(settings, LOOPBACK, web_port))
    return services


def redis_service(settings: Settings) -> Service:
    """Return the embedded Redis."""
    return Service("redis", (str(redis_server.executable()), str(redis_server.write_config(settings))))


def worker_service(
    settings: Settings, queues: Sequence[str], concurrency: int, nodename: str, name: str = "worker"
) -> Service:
    """Return a worker of ``queues`` with ``concurrency`` processes; ``%h`` in ``nodename`` stands for the host name."""
    environment = _home(settings) | {
        # After SIGTERM, running steps have `worker_soft_shutdown_timeout` seconds; then they are returned to the queue.
        # Otherwise a worker would wait for its step to end, and training takes longer than orchestrators wait.
        "REMAP_SIGTERM": "SIGQUIT",
        **thread_limits(concurrency),
    }
    words = ["worker", "-Q", ",".join(queues), "-c", str(concurrency), "-n", nodename, "-l", "info"]
    # Gossip and mingle are for workers that elect each other; these only ask SQL.
    words += ["--without-gossip", "--without-mingle"]
    return Service(name, _celery(settings, *words), environment, nodename.replace("%h", socket.gethostname()))


def beat_service(settings: Settings) -> Service:
    """Return the scheduler; it keeps no file of its own, so several may run."""
    return Service("beat", _celery(settings, "beat", "-l", "info", "--pidfile="), _home(settings))


def flower_service(settings: Settings, address: str, port: int) -> Service:
    """Return Flower, protected by a password.

    Raises:
        ConfigurationError: Flower is not installed.
    """
    if not _installed("flower"):
        raise ConfigurationError("Flower is not installed. Run: pip install 'segadmin[worker]', or leave it out.")
    login = settings.flower_login()
    # Not on the command line, which every user of the machine can read.
    environment = _home(settings) | {"FLOWER_BASIC_AUTH": login}
    make_folder(settings.run_path, settings.umask_bits)
    options = {
        "address": address,
        "port": str(port),
        "persistent": "True",
        "db": str(settings.run_path / "flower"),
        "state_save_interval": "10000",
        "tasks_columns": "name,args,state,received,runtime,worker,exception",
    }
    words = _celery(settings, "flower", *(f"--{name}={value}" for name, value in options.items()))
    return Service("flower", words, environment, url=f"http://{address}:{port}", health="/healthcheck")


def web_service(settings: Settings, address: str, port: int) -> Service:
    """Return the HTTP API with its web pages."""
    command = (sys.executable, "-P", "-m", "segadmin_api.cli", "web", "--address", address, "--port", str(port))
    return Service("web", command, _home(settings), url=f"http://{address}:{port}", health="/healthz")


def thread_limits(processes: int) -> dict[str, str]:
    """Return variables that divide the cores among the processes of a service; each would start one thread per core.

    Idle threads sleep (``PASSIVE``): if two fits share the cores, as the baselines and the fine-tuning of a job do,
    busy-waiting threads make both many times slower.
    """
    share = str(max(1, (os.cpu_count() or 1) // processes))
    defaults = {"OMP_NUM_THREADS": share, "POLARS_MAX_THREADS": share, "OMP_WAIT_POLICY": "passive"}
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def web_is_installed() -> bool:
    """Return whether the packages of ``segadmin[web]`` are installed."""
    return _installed("fastapi") and _installed("uvicorn")


def free_port(preferred: int) -> int:
    """Return ``preferred`` if that port is free on the loopback interface, else any free port.

    Raises:
        ConfigurationError: no port is free.
    """
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigurationError("No port is free on 127.0.0.1. Start without them: segadmin up --no-flower --no-web")


def _celery(settings: Settings, *words: str) -> tuple[str, ...]:
    # -P: a celery.py or redis.py in the current folder must not stand in for the package.
    command = (sys.executable, "-P", "-m", "celery", "-A", "segadmin_worker.app")
    # Celery's banner is no line of JSON.
    return (*command, *(("--quiet",) if settings.log_format == "json" else ()), *words)


def _home(settings: Settings) -> dict[str, str]:
    return {"SEGADMIN_HOME": str(settings.root)}


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
