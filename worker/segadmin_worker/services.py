"""The parts that make a running segadmin: what each is called, and the command that is it."""

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

#: What each worker of ``segadmin up`` serves.
CPU_QUEUES, GPU_QUEUES = ("cpu", "control"), ("gpu",)
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Part:
    """One process: ``command`` with ``environment`` on top of this process's own."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    nodename: str = ""  #: the Celery node name, for a worker
    url: str = ""  #: where people look at it
    health: str = ""  #: the path there that answers 200 once it serves


def parts_of_this_machine(settings: Settings, *, cpu: int, flower_port: int | None, web_port: int | None) -> list[Part]:
    """Return the parts that ``segadmin up`` starts, in the order they start; no Flower and no web without a port.

    Raises:
        ConfigurationError: a part's package is not installed.
    """
    parts = [redis_part(settings)] if settings.embedded_broker else []
    parts += [
        worker_part(settings, CPU_QUEUES, cpu, "cpu@%h", "worker-cpu"),
        worker_part(settings, GPU_QUEUES, 1, "gpu@%h", "worker-gpu"),
        beat_part(settings),
    ]
    if flower_port is not None:
        parts.append(flower_part(settings, LOOPBACK, flower_port))
    if web_port is not None:
        parts.append(web_part(settings, LOOPBACK, web_port))
    return parts


def redis_part(settings: Settings) -> Part:
    """Return the embedded Redis."""
    return Part("redis", (str(redis_server.executable()), str(redis_server.write_config(settings))))


def worker_part(
    settings: Settings, queues: Sequence[str], concurrency: int, nodename: str, name: str = "worker"
) -> Part:
    """Return a worker of ``queues`` with ``concurrency`` processes; ``%h`` in ``nodename`` is the host's name."""
    environment = _home(settings) | {
        # The first SIGTERM gives running steps `worker_soft_shutdown_timeout` seconds, then gives them back;
        # without it a worker would wait for its step, and a training takes longer than any orchestrator waits.
        "REMAP_SIGTERM": "SIGQUIT",
        **_threads(concurrency),
    }
    words = ["worker", "-Q", ",".join(queues), "-c", str(concurrency), "-n", nodename, "-l", "info"]
    # Gossip and mingle are for workers that elect each other; these only ask SQL.
    words += ["--without-gossip", "--without-mingle"]
    return Part(name, _celery(*words), environment, nodename.replace("%h", socket.gethostname()))


def beat_part(settings: Settings) -> Part:
    """Return the scheduler; it keeps no file of its own, so several may run."""
    return Part("beat", _celery("beat", "-l", "info", "--pidfile="), _home(settings))


def flower_part(settings: Settings, address: str, port: int) -> Part:
    """Return Flower, always behind a password.

    Raises:
        ConfigurationError: Flower is not installed.
    """
    if not _installed("flower"):
        raise ConfigurationError("Flower is not installed. Run: pip install 'segadmin[worker]', or leave it out.")
    login = settings.flower_login()
    # In the environment and not on the command line, which every user of the machine can read.
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
    words = _celery("flower", *(f"--{name}={value}" for name, value in options.items()))
    return Part("flower", words, environment, url=f"http://{address}:{port}", health="/healthcheck")


def web_part(settings: Settings, address: str, port: int) -> Part:
    """Return the HTTP API with its pages."""
    words = (sys.executable, "-P", "-m", "segadmin_api.cli", "web", "--address", address, "--port", str(port))
    return Part("web", words, _home(settings), url=f"http://{address}:{port}", health="/healthz")


def web_is_installed() -> bool:
    """Return whether what ``segadmin[web]`` brings is here."""
    return _installed("fastapi") and _installed("uvicorn")


def free_port(wanted: int) -> int:
    """Return ``wanted`` if nobody listens there on the loopback interface, else some free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigurationError("No port is free on 127.0.0.1. Start without them: segadmin up --no-flower --no-web")


def _celery(*words: str) -> tuple[str, ...]:
    # -P: a celery.py or redis.py in the current folder must not stand in for the package.
    return (sys.executable, "-P", "-m", "celery", "-A", "segadmin_worker.app", *words)


def _home(settings: Settings) -> dict[str, str]:
    return {"SEGADMIN_HOME": str(settings.root)}


def _threads(concurrency: int) -> dict[str, str]:
    """Share the cores between a worker's processes: each would start a thread for every core.

    Threads without work sleep: where two fits share the cores, as a job's baselines and its fine-tuning do,
    spinning ones make both many times slower.
    """
    share = str(max(1, (os.cpu_count() or 1) // concurrency))
    chosen = {"OMP_NUM_THREADS": share, "POLARS_MAX_THREADS": share, "OMP_WAIT_POLICY": "passive"}
    return {name: os.environ.get(name, value) for name, value in chosen.items()}


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
