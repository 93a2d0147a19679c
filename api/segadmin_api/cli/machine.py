"""``segadmin up``, ``down`` and ``status``: everything on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import psutil
import typer

from segadmin.errors import BrokerUnavailable, InvalidSettings, SegadminError
from segadmin.files import make_folder
from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import JsonOption, show_json
from segadmin_api.cli.startup import same_port, validate
from segadmin_api.formatting import took
from segadmin_worker import state
from segadmin_worker.state import PartState, PartStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from segadmin_worker.services import Part

_LOOK_SECONDS = 0.25
_READY_SECONDS = 120.0
#: The supervisor's own grace for its parts, and some more.
_DOWN_SECONDS = 60.0
_LOG_LINES = 15


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything answers.")] = False,
    cpu: Annotated[
        int | None, typer.Option(min=1, help="Processes of the CPU worker; default: one a core, at most 4.")
    ] = None,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Start no Flower.")] = False,
    no_web: Annotated[bool, typer.Option("--no-web", help="Start no HTTP API and no pages.")] = False,
) -> None:
    """Start everything on this machine: Redis, workers, beat, Flower, web; stop it with Ctrl-C, or `segadmin down`."""
    settings = get_settings()
    # Not more than a stage has steps by default: the others would only hold memory.
    cpu = cpu or min(os.cpu_count() or 1, 4)
    found = state.read(settings)
    if detach and found is not None and found.process is not None:
        typer.echo(f"segadmin runs already (pid {found.pid}).")
        raise typer.Exit(_wait_until_ready(settings, None))
    validate(settings)
    if not (no_flower or no_web) and (problem := same_port(settings)) is not None:
        raise InvalidSettings([problem])
    if detach:  # what is missing is said here, and not by a log
        parts_of(settings, cpu, *_ports(settings, flower=not no_flower, web=not no_web))
        _check_broker(settings)
        left_out = ["--no-flower"] * no_flower + ["--no-web"] * no_web
        raise typer.Exit(_wait_until_ready(settings, _start_in_background(settings, cpu, left_out)))
    _run_here(settings, cpu, flower=not no_flower, web=not no_web)


def down() -> None:
    """Stop what `segadmin up` started: workers first give back the steps they are at, Redis goes last."""
    settings = get_settings()
    found = state.read(settings)
    if found is None or not (found.process or found.processes):
        state.path(settings).unlink(missing_ok=True)
        typer.echo(f"Nothing runs here ({settings.root}).")
        return
    typer.echo(f"Stopping {', '.join(found.processes) or 'segadmin'} …")
    if (supervisor := found.process) is not None:
        supervisor.terminate()
        _, alive = psutil.wait_procs([supervisor], timeout=_DOWN_SECONDS)
        for one in alive:
            one.kill()
    state.stop_leftovers(settings)
    state.path(settings).unlink(missing_ok=True)
    typer.echo("Stopped.")


def status(as_json: JsonOption = False) -> None:
    """Show what runs on this machine; exit code 1 if nothing does."""
    settings = get_settings()
    found = state.read(settings)
    running = found is not None and found.process is not None
    if as_json:
        show_json(_facts(settings, found, running=running))
    elif found is None or not (running or found.processes):
        typer.echo(f"Not running ({settings.root}). Start it: segadmin up --detach")
    else:
        from rich.console import Console

        Console().print(_draw(settings, found, _queues(settings)), soft_wrap=True)
        if not running:
            typer.echo("The supervisor was killed, these were left. Run: segadmin down", err=True)
    if not running:
        raise typer.Exit(1)


def parts_of(settings: Settings, cpu: int, flower_port: int | None, web_port: int | None) -> list[Part]:
    """Return the parts of this machine; imported late, for the sake of `segadmin --help`."""
    from segadmin_worker.services import parts_of_this_machine

    return parts_of_this_machine(settings, cpu=cpu, flower_port=flower_port, web_port=web_port)


def _ports(settings: Settings, *, flower: bool, web: bool) -> tuple[int | None, int | None]:
    """Return where Flower and the web part want to listen, nowhere for what is left out or not installed."""
    from segadmin_worker.services import web_is_installed

    return settings.flower_port if flower else None, settings.web_port if web and web_is_installed() else None


def _check_broker(settings: Settings) -> None:
    """Raise where the broker is somebody else's and does not answer: then no worker will."""
    if not settings.embedded_broker:
        from segadmin_worker.inspection import ping

        ping(settings)


def _run_here(settings: Settings, cpu: int, *, flower: bool, web: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from segadmin_worker.services import free_port
    from segadmin_worker.supervisor import Supervisor

    console = Console()
    state.stop_leftovers(settings)  # now, so that Flower finds its port free
    wanted = _ports(settings, flower=flower, web=web)
    ports = [port and free_port(port) for port in wanted]
    for name, taken, port in zip(("Flower", "web"), wanted, ports, strict=True):
        if port != taken:
            console.print(f"Port {taken} is taken; {name} listens on {port}.", highlight=False)
    supervisor = Supervisor(settings, parts_of(settings, cpu, *ports))
    if not console.is_terminal:
        supervisor.observe = _Lines()
        supervisor.run()
        return
    with Live(console=console, refresh_per_second=2) as live:
        supervisor.observe = _Screen(settings, live)
        supervisor.run()
    console.print("Stopped.")


class _Screen:
    """Keeps the table of a supervisor on a terminal current, once a second: memory takes a while to add up."""

    def __init__(self, settings: Settings, live: Live) -> None:
        self._settings, self._live, self._drawn = settings, live, 0.0

    def __call__(self, seen: Status) -> None:
        """Draw, unless it was drawn just now."""
        if time.monotonic() - self._drawn >= 1.0:
            self._live.update(_draw(self._settings, seen, None))
            self._drawn = time.monotonic()


class _Lines:
    """Prints a line whenever a part's state changes: the log of a supervisor without a terminal."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str]] = {}

    def __call__(self, seen: Status) -> None:
        """Print what is new."""
        for part in seen.parts:
            now = (part.state.value, part.note)
            if self._said.get(part.name) != now:
                self._said[part.name] = now
                moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
                typer.echo(f"{moment} {part.name} {part.state} {part.note}".rstrip())


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
    """Wait until every part answers and return the exit code; say what is wrong where it is not well."""
    from rich.console import Console

    console = Console()
    end = time.monotonic() + _READY_SECONDS
    with console.status("Starting …") as spinner:
        while time.monotonic() < end:
            found = state.read(settings)
            parts = found.parts if found is not None and found.process is not None else ()
            if parts and _settled(parts):
                break
            if started is not None and started.poll() is not None:
                raise SegadminError(f"segadmin did not start:\n{_tail(_log(settings))}")
            spinner.update("Starting " + ", ".join(part.name for part in parts if part.state != PartState.RUNNING))
            time.sleep(_LOOK_SECONDS)
    if found is None:
        raise SegadminError(f"segadmin did not start; see {_log(settings)}")
    console.print(_draw(settings, found, None), soft_wrap=True)
    late = [part for part in found.parts if part.state != PartState.RUNNING]
    for part in late:
        typer.echo(f"Error: {part.name} does not run: {part.note or part.state}\n{_tail(Path(part.log))}", err=True)
    if late:
        typer.echo("The other parts run. Stop them: segadmin down · check: segadmin doctor", err=True)
        return 1
    for name, wanted in (("flower", settings.flower_port), ("web", settings.web_port)):
        if (url := found.urls.get(name)) and urlsplit(url).port != wanted:
            typer.echo(f"Port {wanted} was taken, so {name} is at {url}.")
    typer.echo("Ready. Try: segadmin enqueue retrain --wait · stop: segadmin down")
    return 0


def _settled(parts: tuple[PartStatus, ...]) -> bool:
    """Return whether nothing will change by waiting: without Redis the others do not even start."""
    failed = {part.name for part in parts if part.state == PartState.FAILED}
    return "redis" in failed or all(part.name in failed or part.state == PartState.RUNNING for part in parts)


def _draw(settings: Settings, seen: Status, queues: dict[str, int] | None) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from segadmin_worker.services import web_is_installed

    colours = {PartState.RUNNING: "green", PartState.FAILED: "bold red", PartState.LOST: "red"}
    drawn = Table(header_style="bold")
    for column in ("part", "state", "pid", "up", "restarts", "memory", "note"):
        drawn.add_column(column, justify="right" if column in {"pid", "up", "restarts", "memory"} else "left")
    for part in seen.parts:
        one = _part_facts(part)
        shown = Text(one["state"], colours.get(PartState(one["state"]), "yellow"))
        memory = "" if one["memory_bytes"] is None else f"{one['memory_bytes'] / 2**20:.0f} MiB"
        started = datetime.fromtimestamp(part.created, UTC) if part.created and one["pid"] else None
        drawn.add_row(
            part.name, shown, str(one["pid"] or ""), took(started, None), str(part.restarts), memory, part.note
        )
    lines = [Text(f"home: {settings.root}")]
    if queues is not None:
        waiting = " · ".join(f"{name} {length}" for name, length in queues.items())
        lines.append(Text(f"waiting in the queues: {waiting}"))
    if not web_is_installed():
        lines.append(Text("web pages of jobs and models: pip install 'segadmin[web]'", "dim"))
    return Group(drawn, *lines, *map(Text, pages(settings, seen)))


def pages(settings: Settings, seen: Status) -> list[str]:
    """Return where there is something to look at in a browser, and what opens it."""
    login = f"user {settings.flower_user}, password in {settings.root / 'flower_password'}"
    if settings.flower_password is not None:
        login = f"user {settings.flower_user}, password from SEGADMIN_FLOWER_PASSWORD"
    opened = {
        "flower": ("Flower", login),
        "web": ("jobs, curves, models", "any user, a key as the password: segadmin keys create me --pages"),
    }
    return [f"{opened[name][0]}: {url} ({opened[name][1]})" for name, url in seen.urls.items()]


def _facts(settings: Settings, found: Status | None, *, running: bool) -> dict[str, Any]:
    return {
        "running": running,
        "home": str(settings.root),
        "pid": found.pid if found is not None and running else None,
        "flower_url": found.urls.get("flower") if found is not None and running else None,
        "web_url": found.urls.get("web") if found is not None and running else None,
        "parts": [_part_facts(part) for part in found.parts] if found is not None else [],
        "queues": _queues(settings) if running else None,
    }


def _part_facts(part: PartStatus) -> dict[str, Any]:
    process = part.process
    lost = process is None and part.pid is not None
    return {
        "name": part.name,
        "state": (PartState.LOST if lost else part.state).value,
        "pid": process.pid if process else None,
        "uptime_seconds": round(time.time() - part.created, 1) if process and part.created else None,
        "restarts": part.restarts,
        "memory_bytes": _memory(process) if process else None,
        "note": part.note,
        "log": part.log,
    }


def _memory(process: psutil.Process) -> int:
    """Return the resident memory of a process and its children, in bytes."""
    total = 0
    for one in state.family_of(process):
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it ended just now
            continue
    return total


def _queues(settings: Settings) -> dict[str, int] | None:
    """Return the queues' lengths, or nothing where the broker does not answer: its part's state says why."""
    from segadmin_worker.inspection import queue_lengths

    try:
        return queue_lengths(settings)
    except BrokerUnavailable:
        return None


def _log(settings: Settings) -> Path:
    return settings.run_path / "supervisor.log"


def _tail(log: Path) -> str:
    """Return a log's last lines, indented."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines)
