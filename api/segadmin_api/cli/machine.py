"""``segadmin up``, ``down`` and ``status``: everything on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import psutil
import typer

from segadmin.errors import BrokerUnavailable, InvalidSettings, SegadminError, StorageError
from segadmin.files import make_folder
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import reading
from segadmin.storage.records import Canary, CanaryState
from segadmin_api.cli.output import JsonOption, echo, show_json, terminal
from segadmin_api.cli.startup import same_port, validate
from segadmin_api.formatting import canary_line, duration, took
from segadmin_api.policy_words import policy_facts, policy_line
from segadmin_worker import state
from segadmin_worker.state import ServiceState, ServiceStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from segadmin.workflows.objectives import ObjectiveState
    from segadmin.workflows.update_policies import ScheduledPolicy
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


def status(as_json: JsonOption = False) -> None:
    """Show the services on this machine; exit code 1 if segadmin is not running."""
    settings = get_settings()
    current = state.read(settings)
    is_running = current is not None and current.process is not None
    if as_json:
        show_json(_facts(settings, current, running=is_running))
    elif current is None or not (is_running or current.processes):
        echo(f"Not running ({settings.root}). Start it: segadmin up --detach")
    else:
        shown = _table(settings, current, _queues(settings), _overdue(settings), _canaries(settings))
        terminal().print(shown, soft_wrap=True)
        _print_freshness(settings)
        for policy in _policies(settings):
            echo(policy_line(policy))
        if not is_running:
            echo("The supervisor was killed; these services are left over. Run: segadmin down", err=True)
    if not is_running:
        raise typer.Exit(1)


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
            self._live.update(_table(self._settings, status, None))
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
    console.print(_table(settings, current, None), soft_wrap=True)
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


def _table(
    settings: Settings,
    status: Status,
    queues: dict[str, int] | None,
    late: Sequence[str] = (),
    running_canaries: Sequence[Canary] = (),
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from segadmin_worker.services import web_is_installed

    colours = {
        ServiceState.RUNNING: "green",
        ServiceState.FAILED: "bold red",
        ServiceState.BLOCKED: "bold red",
        ServiceState.HUNG: "bold red",
        ServiceState.LOST: "red",
    }
    services = Table(header_style="bold")
    for column in ("part", "state", "pid", "up", "restarts", "memory", "note"):
        services.add_column(column, justify="right" if column in {"pid", "up", "restarts", "memory"} else "left")
    for service in status.services:
        facts = _service_facts(settings, service)
        state_cell = Text(facts["state"], colours.get(ServiceState(facts["state"]), "yellow"))
        memory = "" if facts["memory_bytes"] is None else f"{facts['memory_bytes'] / 2**20:.0f} MiB"
        started = datetime.fromtimestamp(service.created, UTC) if service.created and facts["pid"] else None
        services.add_row(
            service.name,
            state_cell,
            str(facts["pid"] or ""),
            took(started, None),
            str(service.restarts),
            memory,
            facts["note"],
        )
    lines = [Text(f"home: {settings.root}")]
    if queues is not None:
        waiting = " · ".join(f"{name} {length}" for name, length in queues.items())
        lines.append(Text(f"waiting in the queues: {waiting}"))
    if late:
        lines.append(Text(f"overdue schedules: {', '.join(late)}", "bold red"))
    lines += [Text(f"canary: {canary_line(canary)}") for canary in running_canaries]
    if not web_is_installed():
        lines.append(Text("web pages of jobs and models: pip install 'segadmin[web]'", "dim"))
    return Group(services, *lines, *map(Text, pages(settings, status)))


def pages(settings: Settings, status: Status) -> list[str]:
    """Return a line for each service with web pages: its URL and how to log in."""
    login = f"user {settings.flower_user}, password in {settings.root / 'flower_password'}"
    if settings.flower_password is not None:
        login = f"user {settings.flower_user}, password from SEGADMIN_FLOWER_PASSWORD"
    logins = {
        "flower": ("Flower", login),
        "web": ("segments, users, jobs, models", "log in with a key: segadmin keys create me --role analyst"),
    }
    return [f"{logins[name][0]}: {url} ({logins[name][1]})" for name, url in status.urls.items()]


def _facts(settings: Settings, status: Status | None, *, running: bool) -> dict[str, Any]:
    return {
        "running": running,
        "home": str(settings.root),
        "pid": status.pid if status is not None and running else None,
        "flower_url": status.urls.get("flower") if status is not None and running else None,
        "web_url": status.urls.get("web") if status is not None and running else None,
        "parts": [_service_facts(settings, service) for service in status.services] if status is not None else [],
        "queues": _queues(settings) if running else None,
        "overdue": _overdue(settings) if running else None,
        "freshness": _freshness(settings) if running else None,
        "policies": [policy_facts(policy) for policy in _policies(settings)] if running else None,
        "canaries": [
            canary.model_dump(mode="json", include={"label_set", "challenger_id", "champion_id", "share", "until"})
            for canary in _canaries(settings)
        ],
    }


def _service_facts(settings: Settings, service: ServiceStatus) -> dict[str, Any]:
    process = service.process
    current, note = service.state, service.note
    if process is None and service.pid is not None:
        current = ServiceState.LOST
    elif (silence := state.hung_for(settings, service)) is not None:
        current, note = ServiceState.HUNG, f"has not looked for due schedules for {duration(silence)}"
    return {
        "name": service.name,
        "state": current.value,
        "pid": process.pid if process else None,
        "uptime_seconds": round(time.time() - service.created, 1) if process and service.created else None,
        "restarts": service.restarts,
        "memory_bytes": _memory(process) if process else None,
        "note": note,
        "log": service.log,
    }


def _memory(process: psutil.Process) -> int:
    """Return the resident memory of a process and its children, in bytes."""
    total = 0
    for member in state.family_of(process):
        try:
            total += member.memory_info().rss
        except psutil.Error:  # it has ended
            continue
    return total


def _overdue(settings: Settings) -> list[str]:
    """Return the names of overdue schedules; none if the database cannot be read, which `segadmin doctor` reports."""
    from segadmin.jobs.schedules import overdue

    try:
        return overdue(settings)
    except StorageError:
        return []


def _objectives(settings: Settings) -> list[ObjectiveState]:
    """Return the freshness objectives; none if they cannot be read, which `segadmin doctor` reports."""
    from segadmin.workflows.objectives import objectives

    try:
        return objectives(settings)
    except SegadminError:
        return []


def _print_freshness(settings: Settings) -> None:
    from rich.text import Text

    from segadmin_api.freshness_words import objective_line

    for objective in _objectives(settings):
        fix = f" → {objective.fix}" if objective.fix else ""
        line = Text(f"{objective_line(objective)}{fix}", "bold red" if objective.missed else "")
        terminal().print(line, soft_wrap=True)


def _freshness(settings: Settings) -> list[dict[str, Any]]:
    from segadmin_api.freshness_words import objective_facts

    return [objective_facts(objective) for objective in _objectives(settings)]


def _policies(settings: Settings) -> list[ScheduledPolicy]:
    """Return the update policies of schedules; none if they cannot be read, which `segadmin doctor` reports."""
    from segadmin.workflows.update_policies import update_policies

    try:
        return update_policies(settings)
    except SegadminError:
        return []


def _canaries(settings: Settings) -> list[Canary]:
    """Return the canaries that are running; none if the database cannot be read."""
    from segadmin.models.canary import list_canaries

    try:
        with reading(settings) as session:
            return [canary for canary in list_canaries(session) if canary.state == CanaryState.RUNNING]
    except StorageError:
        return []


def _queues(settings: Settings) -> dict[str, int] | None:
    """Return the lengths of the queues, or ``None`` if the broker does not answer."""
    from segadmin_worker.inspection import queue_lengths

    try:
        return queue_lengths(settings)
    except BrokerUnavailable:
        return None


def _log(settings: Settings) -> Path:
    return settings.run_path / "supervisor.log"


def _tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines)
