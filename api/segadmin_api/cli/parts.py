"""``segadmin worker``, ``beat``, ``flower`` and ``web``: one part, for a deployment."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.settings import get_settings
from segadmin_api.cli.startup import Listener, validate

if TYPE_CHECKING:
    from segadmin_worker.services import Part

#: What is checked only for parts that see users: a scheduler needs neither the store nor the user-key secret.
_OF_USERS = ("store", "user_key_secret")


def worker(
    queues: Annotated[str, typer.Option("--queues", "-Q", help="Comma-separated: cpu, control, gpu.")] = "cpu,control",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: 1 with the gpu queue, else one a core.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Node name; %h is the host's. Default: the queues.")] = None,
) -> None:
    """Run a worker, for a deployment: one with `--queues gpu` for every GPU, others with `--queues cpu,control`."""
    from segadmin_worker.services import CPU_QUEUES, GPU_QUEUES, worker_part

    known = (*CPU_QUEUES, *GPU_QUEUES)
    wanted = [queue.strip() for queue in queues.split(",") if queue.strip()]
    for queue in wanted:
        if queue not in known:
            raise typer.BadParameter(f"there is no queue {queue!r}.{did_you_mean(queue, known)}", param_hint="--queues")
    if not wanted:
        raise typer.BadParameter(f"name at least one of {', '.join(known)}", param_hint="--queues")
    settings = get_settings()
    validate(settings)
    processes = concurrency or (1 if "gpu" in wanted else os.cpu_count() or 1)
    _become(worker_part(settings, wanted, processes, name or f"{'-'.join(wanted)}@%h"))


def beat() -> None:
    """Run the scheduler, for a deployment: due schedules, lost steps. Several may run at once."""
    from segadmin_worker.services import beat_part

    settings = get_settings()
    validate(settings, leave_out=_OF_USERS)
    _become(beat_part(settings))


def flower(
    address: Annotated[str, typer.Option(help="Interface to listen on; 0.0.0.0 for all of them.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port [SEGADMIN_FLOWER_PORT].")] = None,
) -> None:
    """Run Flower with a password, for a deployment; put a proxy with TLS before it if others can reach it."""
    from segadmin_worker.services import flower_part

    settings = get_settings()
    listener = _listener(address, port, settings.flower_port, "SEGADMIN_FLOWER_PORT")
    validate(settings, listener, leave_out=_OF_USERS)
    _become(flower_part(settings, address, listener.port))


def web(
    address: Annotated[str, typer.Option(help="Interface to listen on; 0.0.0.0 for all of them.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port [SEGADMIN_WEB_PORT].")] = None,
) -> None:
    """Run the HTTP API, for a deployment; put a proxy with TLS before it if others can reach it."""
    try:
        from segadmin_api.http import server
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error.name} is not installed. Run: pip install 'segadmin[web]'") from None
    settings = get_settings()
    listener = _listener(address, port, settings.web_port, "SEGADMIN_WEB_PORT")
    validate(settings, listener)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server.run(settings, address, listener.port)


def _listener(address: str, port: int | None, default: int, variable: str) -> Listener:
    return Listener(address, default if port is None else port, variable if port is None else "--port")


def _become(part: Part) -> NoReturn:
    """Turn this process into the part, so that signals and exit codes are the part's own."""
    sys.stdout.flush()
    os.environ.update(part.environment)
    os.execv(part.command[0], part.command)  # noqa: S606  (no shell: that is the point)
