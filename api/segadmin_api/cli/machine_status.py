"""``segadmin status``: the services of this machine, and what needs attention."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
import typer

from segadmin.errors import BrokerUnavailable, SegadminError, StorageError
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import reading
from segadmin.storage.records import Canary, CanaryState
from segadmin_api.cli.output import JsonOption, echo, show_json, terminal
from segadmin_api.formatting import canary_line, duration, took
from segadmin_api.policy_words import policy_facts, policy_line
from segadmin_worker import state
from segadmin_worker.state import ServiceState, ServiceStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from segadmin.workflows.objectives import ObjectiveState
    from segadmin.workflows.update_policies import ScheduledPolicy


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
        shown = status_table(settings, current, _queues(settings), _overdue(settings), _canaries(settings))
        terminal().print(shown, soft_wrap=True)
        _print_freshness(settings)
        for policy in _policies(settings):
            echo(policy_line(policy))
        if not is_running:
            echo("The supervisor was killed; these services are left over. Run: segadmin down", err=True)
    if not is_running:
        raise typer.Exit(1)


def status_table(
    settings: Settings,
    status: Status,
    queues: dict[str, int] | None,
    late: Sequence[str] = (),
    running_canaries: Sequence[Canary] = (),
) -> RenderableType:
    """Return the services and their pages as a table, with the queues and what is late."""
    from rich.console import Group
    from rich.text import Text

    from segadmin_worker.services import web_is_installed

    lines = [Text(f"home: {settings.root}")]
    if queues is not None:
        waiting = " · ".join(f"{name} {length}" for name, length in queues.items())
        lines.append(Text(f"waiting in the queues: {waiting}"))
    if late:
        lines.append(Text(f"overdue schedules: {', '.join(late)}", "bold red"))
    lines += [Text(f"canary: {canary_line(canary)}") for canary in running_canaries]
    if not web_is_installed():
        lines.append(Text("web pages of jobs and models: pip install 'segadmin[web]'", "dim"))
    return Group(_service_table(settings, status), *lines, *map(Text, pages(settings, status)))


def _service_table(settings: Settings, status: Status) -> Table:
    from rich.table import Table
    from rich.text import Text

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
    return services


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
