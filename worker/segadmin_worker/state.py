"""The state file of the supervisor: it identifies the supervisor's processes, so that no other process is stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from segadmin.files import make_folder
from segadmin.settings import Settings

#: Seconds. The start time of a process does not change, but appears shifted when the system clock is adjusted.
_CREATE_TIME_TOLERANCE = 1.0
#: A beat hangs if it has not looked for due schedules for this long, or not at all for this long after its start;
#: seconds.
SILENT_SECONDS, START_SECONDS = 60.0, 120.0
#: Longer than a worker's soft shutdown. A process that still runs after this time is killed.
GRACE_SECONDS = 20.0


class ServiceState(StrEnum):
    """The state of a service."""

    WAITING = "waiting"  #: for Redis, or for the end of the pause after a crash
    STARTING = "starting"  #: the process runs, but is not ready
    RUNNING = "running"  #: it is ready
    BLOCKED = "blocked"  #: the broker has keys of wrong types; it starts when they are gone
    FAILED = "failed"  #: it crashed too often and is not restarted
    HUNG = "hung"  #: its process runs, but has not looked for due work for long
    LOST = "lost"  #: its process is gone, and no supervisor runs to restart it


@dataclass(frozen=True)
class ServiceStatus:
    """The last known status of a service; ``pid`` and ``created`` identify its process even if the pid is reused."""

    name: str
    state: ServiceState
    pid: int | None
    created: float | None  #: seconds since the epoch
    restarts: int
    note: str
    log: str
    url: str = ""

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it is still the one that was started."""
        return process_of(self.pid, self.created)


@dataclass(frozen=True)
class Status:
    """A supervisor and its services."""

    pid: int
    created: float
    services: tuple[ServiceStatus, ...]

    @property
    def urls(self) -> dict[str, str]:
        """Service name → URL, for the services that have pages: Flower and the web pages."""
        return {service.name: service.url for service in self.services if service.url}

    @property
    def process(self) -> psutil.Process | None:
        """The supervisor's process, if it still runs."""
        return process_of(self.pid, self.created)

    @property
    def processes(self) -> dict[str, psutil.Process]:
        """The processes of the services that still run, in start order."""
        return {service.name: process for service in self.services if (process := service.process)}


def path(settings: Settings) -> Path:
    """Return the path of the state file."""
    return settings.run_path / "supervisor.json"


def read(settings: Settings) -> Status | None:
    """Return the status that was written last; ``None`` if there is none or it cannot be read."""
    try:
        content = json.loads(path(settings).read_text())
        services = tuple(
            ServiceStatus(**{**service, "state": ServiceState(service["state"])}) for service in content["parts"]
        )
        return Status(content["pid"], content["created"], services)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(settings: Settings, status: Status) -> None:
    """Replace the state file atomically: a reader gets the old status or the new one."""
    draft = path(settings).with_suffix(f".{os.getpid()}")
    services = [asdict(service) for service in status.services]
    # "parts" is the key in the files of earlier versions, whose processes this version may have to stop.
    content = {"pid": status.pid, "created": status.created, "parts": services}
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(path(settings))


def look_file(settings: Settings) -> Path:
    """Return the file whose time of change is when beat last looked for due schedules."""
    return settings.run_path / "beat.look"


def note_look(settings: Settings) -> None:
    """Note that beat looks now; a disk that is full does not stop it."""
    with suppress(OSError):
        make_folder(settings.run_path, settings.umask_bits)
        look_file(settings).touch(0o666 & ~settings.umask_bits)


def last_look(settings: Settings) -> float | None:
    """Return when beat last looked, in seconds since the epoch; ``None`` if it never did."""
    try:
        return look_file(settings).stat().st_mtime
    except OSError:
        return None


def silence_allowed(settings: Settings, *, has_looked: bool) -> float:
    """Return the seconds without a look after which a beat hangs; ``has_looked``: at least once since its start."""
    return (SILENT_SECONDS if has_looked else START_SECONDS) + 2 * settings.reap_seconds


def hung_for(settings: Settings, service: ServiceStatus) -> float | None:
    """Return for how many seconds a running beat has not looked; ``None`` if it looks, or for other services."""
    if service.name != "beat" or service.process is None or service.created is None:
        return None
    looked = last_look(settings) or 0.0
    silence = time.time() - max(service.created, looked)
    return silence if silence > silence_allowed(settings, has_looked=looked > service.created) else None


def process_of(pid: int | None, created: float | None) -> psutil.Process | None:
    """Return the process ``pid`` if it runs and started at ``created`` (seconds since the epoch), else ``None``."""
    if pid is None or created is None:
        return None
    try:
        process = psutil.Process(pid)
        is_same = abs(process.create_time() - created) < _CREATE_TIME_TOLERANCE
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def stop_leftovers(settings: Settings) -> None:
    """Stop the services of a supervisor that was killed; those of a running supervisor are left alone."""
    status = read(settings)
    if status is not None and status.process is None:
        stop_services(status.processes)


def stop_services(processes: Mapping[str, psutil.Process]) -> None:
    """Stop services in reverse start order, and Redis after all others."""
    others = [process for name, process in reversed([*processes.items()]) if name != "redis"]
    stop(others, GRACE_SECONDS)
    stop([process for process in processes.values() if process not in others], GRACE_SECONDS)


def stop(processes: Iterable[psutil.Process], grace: float) -> None:
    """Terminate processes, wait ``grace`` seconds, and kill those that still run and their descendants."""
    processes = list(processes)
    family = [member for process in processes for member in family_of(process)]
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=grace)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def family_of(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]
