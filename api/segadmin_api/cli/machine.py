"""``segadmin up`` and ``down``: everything on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import psutil
import typer

from segadmin.errors import InvalidSettings, SegadminError
from segadmin.files import make_folder
from segadmin.settings import Settings, get_settings
from segadmin_api.cli.machine_status import status_table
from segadmin_api.cli.output import echo, terminal
from segadmin_api.cli.startup import same_port, validate
from segadmin_worker import state
from segadmin_worker.state import ServiceState, ServiceStatus, Status

if TYPE_CHECKING:
    from rich.live import Live

    from segadmin_worker.services import Service

_POLL_SECONDS = 0.25
#: Longest wait for all services to be ready.
_READY_SECONDS = 120.0
#: Longer than the supervisor waits for its services to end.
_DOWN_SECONDS = 60.0
_LOG_LINES = 15


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; return when everything is ready.")
    ] = False,
    cpu: Annotated[
        int | None, typer.Option(min=1, help="Processes of the CPU worker; default: one per core, at most 4.")
    ] = None,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Do not start Flower.")] = False,
    no_web: Annotated[bool, typer.Option("--no-web", help="Do not start the HTTP API and web pages.")] = False,
) -> None:
    """Start all services on this machine: Redis, workers, beat, Flower, web. Stop with Ctrl-C or `segadmin down`."""
    settings = get_settings()
    # By default a stage has no more steps than this; more processes would only use memory.
    cpu = cpu or min(os.cpu_count() or 1, 4)
    running = state.read(settings)
    if detach and running is not None and running.process is not None:
        echo(f"segadmin runs already (pid {running.pid}).")
        raise typer.Exit(_wait_until_ready(settings, None))
    validate(settings)
    if not (no_flower or no_web) and (problem := same_port(settings)) is not None:
        raise InvalidSettings([problem])
    if detach:  # report missing packages here instead of in a log
        services_of(settings, cpu, *_ports(settings, flower=not no_flower, web=not no_web))
        _check_broker(settings)
        left_out = ["--no-flower"] * no_flower + ["--no-web"] * no_web
        raise typer.Exit(_wait_until_ready(settings, _start_in_background(settings, cpu, left_out)))
    _run_here(settings, cpu, flower=not no_flower, web=not no_web)


def down() -> None:
    """Stop what `segadmin up` started: workers return their running steps to the queue, Redis stops last."""
    settings = get_settings()
    running = state.read(settings)
    if running is None or not (running.process or running.processes):
        state.path(settings).unlink(missing_ok=True)
        echo(f"Nothing runs here ({settings.root}).")
        return
    echo(f"Stopping {', '.join(running.processes) or 'segadmin'} …")
    if (supervisor := running.process) is not None:
        supervisor.terminate()
        _, alive = psutil.wait_procs([supervisor], timeout=_DOWN_SECONDS)
        for process in alive:
            process.kill()
    state.stop_leftovers(settings)
    state.path(settings).unlink(missing_ok=True)
    echo("Stopped.")


def services_of(settings: Settings, cpu: int, flower_port: int | None, web_port: int | None) -> list[Service]:
    """Return the services of this machine; imported late, to keep `segadmin --help` fast."""
    from segadmin_worker.services import services_of_this_machine

    return services_of_this_machine(settings, cpu=cpu, flower_port=flower_port, web_port=web_port)


def _ports(settings: Settings, *, flower: bool, web: bool) -> tuple[int | None, int | None]:
    """Return the preferred ports of Flower and of the HTTP API; ``None`` if left out or not installed."""
    from segadmin_worker.services import web_is_installed

    return settings.flower_port if flower else None, settings.web_port if web and web_is_installed() else None


def _check_broker(settings: Settings) -> None:
    """Raise ``BrokerUnavailable`` if an external broker does not answer, because workers cannot start then."""
    if not settings.embedded_broker:
        from segadmin_worker.inspection import ping

        ping(settings)


def _run_here(settings: Settings, cpu: int, *, flower: bool, web: bool) -> None:
    from rich.live import Live

    from segadmin_worker.services import free_port
    from segadmin_worker.supervisor import Supervisor

    console = terminal()
    state.stop_leftovers(settings)  # before ports are checked, because a leftover Flower would hold its port
    preferred = _ports(settings, flower=flower, web=web)
    ports = [port and free_port(port) for port in preferred]
    for name, preferred_port, port in zip(("Flower", "web"), preferred, ports, strict=True):
        if port != preferred_port:
            console.print(f"Port {preferred_port} is taken; {name} listens on {port}.", highlight=False)
    supervisor = Supervisor(settings, services_of(settings, cpu, *ports))
    if not console.is_terminal:
        supervisor.observe = _StateLog()
        supervisor.run()
        return
    with Live(console=console, refresh_per_second=2) as live:
        supervisor.observe = _LiveTable(settings, live)
        supervisor.run()
    console.print("Stopped.")


class _LiveTable:
    """Updates the table of a supervisor on a terminal, once a second because adding up memory takes time."""

    def __init__(self, settings: Settings, live: Live) -> None:
        self._settings, self._live, self._updated_at = settings, live, 0.0

    def __call__(self, status: Status) -> None:
        """Update the table, at most once a second."""
        if time.monotonic() - self._updated_at >= 1.0:
            self._live.update(status_table(self._settings, status, None))
            self._updated_at = time.monotonic()


class _StateLog:
    """Prints a line whenever the state of a service changes; used without a terminal."""

    def __init__(self) -> None:
        self._printed: dict[str, tuple[str, str]] = {}

    def __call__(self, status: Status) -> None:
        """Print the services whose state or note changed."""
        for service in status.services:
            current = (service.state.value, service.note)
            if self._printed.get(service.name) != current:
                self._printed[service.name] = current
                moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
                echo(f"{moment} {service.name} {service.state} {service.note}".rstrip())


def _start_in_background(settings: Settings, cpu: int, left_out: list[str]) -> subprocess.Popen[bytes]:
    make_folder(settings.run_path, settings.umask_bits)
    command = [sys.executable, "-P", "-m", "segadmin_api.cli", "up", "--cpu", str(cpu), *left_out]
    with _log(settings).open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_until_ready(settings: Settings, started: subprocess.Popen[bytes] | None) -> int:
    """Wait until all services are ready, print their status and errors, and return the exit code."""
    console = terminal()
    end = time.monotonic() + _READY_SECONDS
    with console.status("Starting …") as spinner:
        while time.monotonic() < end:
            current = state.read(settings)
            services = current.services if current is not None and current.process is not None else ()
            if services and _settled(services):
                break
            if started is not None and started.poll() is not None:
                raise SegadminError(f"segadmin did not start:\n{_tail(_log(settings))}")
            spinner.update(
                "Starting " + ", ".join(service.name for service in services if service.state != ServiceState.RUNNING)
            )
            time.sleep(_POLL_SECONDS)
    if current is None:
        raise SegadminError(f"segadmin did not start; see {_log(settings)}")
    console.print(status_table(settings, current, None), soft_wrap=True)
    late = [service for service in current.services if service.state != ServiceState.RUNNING]
    blocked = [service for service in late if service.state == ServiceState.BLOCKED]
    if blocked:
        names = ", ".join(service.name for service in blocked)
        echo(f"Error: {blocked[0].note}\nThen {names} start by themselves.", err=True)
    for service in (service for service in late if service not in blocked):
        echo(
            f"Error: {service.name} does not run: {service.note or service.state}\n{_tail(Path(service.log))}", err=True
        )
    if late:
        echo("The other parts run. Stop them: segadmin down · check: segadmin doctor", err=True)
        return 1
    for name, preferred_port in (("flower", settings.flower_port), ("web", settings.web_port)):
        if (url := current.urls.get(name)) and urlsplit(url).port != preferred_port:
            echo(f"Port {preferred_port} was taken, so {name} is at {url}.")
    echo("Ready. Try: segadmin enqueue retrain --wait · stop: segadmin down")
    return 0


def _settled(services: tuple[ServiceStatus, ...]) -> bool:
    """Return whether all services run, have failed, or are blocked; if Redis has failed, the others do not start."""
    failed = {service.name for service in services if service.state == ServiceState.FAILED}
    return "redis" in failed or all(
        service.name in failed or service.state in {ServiceState.RUNNING, ServiceState.BLOCKED} for service in services
    )


def _log(settings: Settings) -> Path:
    return settings.run_path / "supervisor.log"


def _tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines)
