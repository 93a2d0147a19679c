"""What the supervisor writes down: which processes are its own, so that nobody else's is ever stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from segadmin.settings import Settings

#: A process keeps its start time for life; clocks that are set make it look shifted a little.
_CREATE_TIME_TOLERANCE = 1.0
#: Longer than a worker's soft shutdown; what is still there then is killed.
GRACE_SECONDS = 20.0


class PartState(StrEnum):
    """Where a part is."""

    WAITING = "waiting"  #: for Redis, or for the end of the pause after a crash
    STARTING = "starting"  #: the process runs; it does not answer yet
    RUNNING = "running"  #: it answered
    FAILED = "failed"  #: it crashed too often; the supervisor gave it up
    LOST = "lost"  #: somebody stopped it, and nobody is there to start it again


@dataclass(frozen=True)
class PartStatus:
    """One part, as last seen; ``pid`` and ``created`` name its process, also after the pid is recycled."""

    name: str
    state: PartState
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
    """A supervisor and its parts."""

    pid: int
    created: float
    parts: tuple[PartStatus, ...]

    @property
    def urls(self) -> dict[str, str]:
        """Where people look, by part: Flower and the web pages, where they are."""
        return {part.name: part.url for part in self.parts if part.url}

    @property
    def process(self) -> psutil.Process | None:
        """The supervisor's process, if it is still there."""
        return process_of(self.pid, self.created)

    @property
    def processes(self) -> dict[str, psutil.Process]:
        """The processes of the parts that are still there, in the order they started."""
        return {part.name: process for part in self.parts if (process := part.process)}


def path(settings: Settings) -> Path:
    """Return where the status is kept."""
    return settings.run_path / "supervisor.json"


def read(settings: Settings) -> Status | None:
    """Return the status that was written last; ``None`` if there is none or it is not readable."""
    try:
        found = json.loads(path(settings).read_text())
        parts = tuple(PartStatus(**{**part, "state": PartState(part["state"])}) for part in found.pop("parts"))
        return Status(found["pid"], found["created"], parts)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(settings: Settings, status: Status) -> None:
    """Replace the status as a whole: a reader sees the old one or the new one."""
    draft = path(settings).with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(asdict(status), indent=1))
    draft.replace(path(settings))


def process_of(pid: int | None, created: float | None) -> psutil.Process | None:
    """Return the process ``pid`` if it started at ``created`` and runs, else ``None``."""
    if pid is None or created is None:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CREATE_TIME_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def stop_leftovers(settings: Settings) -> None:
    """Stop what a supervisor left behind that was killed; one that runs looks after its parts itself."""
    found = read(settings)
    if found is not None and found.process is None:
        stop_parts(found.processes)


def stop_parts(processes: Mapping[str, psutil.Process]) -> None:
    """Stop parts, the last started first, and Redis when nobody needs it any more."""
    others = [process for name, process in reversed([*processes.items()]) if name != "redis"]
    stop(others, GRACE_SECONDS)
    stop([process for process in processes.values() if process not in others], GRACE_SECONDS)


def stop(processes: Iterable[psutil.Process], grace: float) -> None:
    """Ask processes to end, wait ``grace`` seconds, and kill what is left of them and of their children."""
    processes = list(processes)
    family = [one for process in processes for one in family_of(process)]
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
    """Return a process and all that descend from it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]
