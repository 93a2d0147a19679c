"""``segadmin worker``, ``beat``, ``flower`` and ``web``: runs one service, for a deployment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from segadmin.errors import ConfigurationError, InvalidSettings, did_you_mean
from segadmin.logs import set_up_logging
from segadmin.settings import get_settings
from segadmin_api.cli.startup import Listener, Tls, exposure_problem, validate

if TYPE_CHECKING:
    from segadmin_worker.services import Service

#: Settings that only services with access to user data need; beat and Flower need neither.
_USER_SETTINGS = ("store", "user_key_secret")


def worker(
    queues: Annotated[str, typer.Option("--queues", "-Q", help="Comma-separated: cpu, control, gpu.")] = "cpu,control",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; default: 1 with the gpu queue, else one per core.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Node name; %h stands for the host name. Default: the queues.")
    ] = None,
) -> None:
    """Run a worker, for a deployment: one with `--queues gpu` per GPU, others with `--queues cpu,control`."""
    from segadmin_worker.client import check_keys
    from segadmin_worker.services import CPU_QUEUES, GPU_QUEUES, worker_service

    known_queues = (*CPU_QUEUES, *GPU_QUEUES)
    names = [queue.strip() for queue in queues.split(",") if queue.strip()]
    for queue in names:
        if queue not in known_queues:
            raise typer.BadParameter(
                f"there is no queue {queue!r}.{did_you_mean(queue, known_queues)}", param_hint="--queues"
            )
    if not names:
        raise typer.BadParameter(f"name at least one of {', '.join(known_queues)}", param_hint="--queues")
    settings = get_settings()
    validate(settings)
    check_keys(settings)
    processes = concurrency or (1 if "gpu" in names else os.cpu_count() or 1)
    _become(worker_service(settings, names, processes, name or f"{'-'.join(names)}@%h"))


def beat() -> None:
    """Run the scheduler, for a deployment: enqueues due schedules and lost steps. Several may run at once."""
    from segadmin_worker.services import beat_service

    settings = get_settings()
    validate(settings, leave_out=_USER_SETTINGS)
    _become(beat_service(settings))


def flower(
    address: Annotated[str, typer.Option(help="Interface to listen on; 0.0.0.0 for all of them.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port [SEGADMIN_FLOWER_PORT].")] = None,
) -> None:
    """Run Flower with a password, for a deployment; use a TLS proxy if other machines can reach it."""
    from segadmin_worker.services import flower_service

    settings = get_settings()
    listener = _listener(address, port, settings.flower_port, "SEGADMIN_FLOWER_PORT")
    validate(settings, listener, leave_out=_USER_SETTINGS)
    _become(flower_service(settings, address, listener.port))


def web(
    address: Annotated[str, typer.Option(help="Interface to listen on; 0.0.0.0 for all of them.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port [SEGADMIN_WEB_PORT].")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer requests [SEGADMIN_WEB_PROCESSES].")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy with TLS is before it, and nobody else can reach it.")
    ] = False,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Certificate (PEM), with those between it and the root.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the certificate (PEM).")] = None,
) -> None:
    """Run the HTTP API and the web pages, for a deployment.

    It listens beyond this machine only with a key, and with a certificate or behind a proxy with TLS.
    """
    try:
        from segadmin_api.http import server
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error.name} is not installed. Run: pip install 'segadmin[web]'") from None
    settings = get_settings()
    listener = _listener(address, port, settings.web_port, "SEGADMIN_WEB_PORT")
    validate(settings, listener)
    tls = _tls(tls_certificate, tls_key)
    is_protected = tls is not None or behind_proxy or bool(settings.web_proxies)
    problem = (tls and tls.problem) or exposure_problem(settings, address, is_protected=is_protected)
    if problem is not None:
        raise InvalidSettings([problem])
    set_up_logging(settings)
    files = None if tls is None else (tls.certificate, tls.key)
    number = processes or settings.web_processes
    server.run(settings, address, listener.port, files, behind_proxy=behind_proxy, processes=number)


def _tls(certificate: Path | None, key: Path | None) -> Tls | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise typer.BadParameter("Both are needed.", param_hint="--tls-certificate and --tls-key")
    return Tls(certificate, key)


def _listener(address: str, port: int | None, default: int, variable: str) -> Listener:
    return Listener(address, default if port is None else port, variable if port is None else "--port")


def _become(service: Service) -> NoReturn:
    """Replace this process by the service, so that it receives the signals and sets the exit code."""
    sys.stdout.flush()
    os.environ.update(service.environment)
    os.execv(service.command[0], service.command)  # noqa: S606  (intentionally without a shell)
