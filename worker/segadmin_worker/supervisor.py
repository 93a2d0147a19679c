"""Everything on one machine: starts the parts, starts again what crashes, stops all of it in order."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from segadmin.errors import ConfigurationError
from segadmin.files import make_folder
from segadmin.settings import Settings
from segadmin_worker import state
from segadmin_worker.readiness import is_ready
from segadmin_worker.services import Part
from segadmin_worker.state import PartState, PartStatus, Status

_LOOK_SECONDS, _PROBE_SECONDS = 0.25, 1.0
#: A part that ends sooner than this after its start crashed quickly.
QUICK_SECONDS = 10.0
#: After so many quick crashes in a row a part is given up.
GIVE_UP_AFTER = 5
BACKOFF_LIMIT = 30.0
_LOG_LIMIT = 10_000_000


@dataclass
class Child:
    """One part and its process, if it has one now."""

    part: Part
    log: Path
    state: PartState = PartState.WAITING
    process: psutil.Popen | None = None
    created: float | None = None
    log_start: int = 0
    restarts: int = 0
    quick_crashes: int = 0
    start_at: float = 0.0  #: on the monotonic clock
    probe_at: float = 0.0
    note: str = ""

    @property
    def status(self) -> PartStatus:
        """What others may know."""
        pid = self.process.pid if self.process else None
        return PartStatus(
            self.part.name, self.state, pid, self.created, self.restarts, self.note, str(self.log), self.part.url
        )


@dataclass
class Supervisor:
    """Runs ``parts`` until it is told to stop.

    Redis starts first and stops last; the others start when it answers. ``observe`` sees the status
    several times a second.
    """

    settings: Settings
    parts: Sequence[Part]
    observe: Callable[[Status], None] = lambda _status: None
    children: list[Child] = field(init=False)
    _stopping: bool = field(default=False, init=False)
    _written: Status | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.children = [Child(part, self.settings.run_path / f"{part.name}.log") for part in self.parts]

    def run(self) -> None:
        """Start everything and stay until SIGTERM, SIGINT, SIGHUP or :meth:`stop`.

        Raises:
            ConfigurationError: a supervisor of this home runs already.
        """
        with _only_one(self.settings), self._signals():
            state.stop_leftovers(self.settings)
            try:
                while not self._stopping:
                    self._look()
                    time.sleep(_LOOK_SECONDS)
            finally:
                self._stop_all()
                state.path(self.settings).unlink(missing_ok=True)

    def stop(self) -> None:
        """Make :meth:`run` stop everything and return."""
        self._stopping = True

    def _look(self) -> None:
        for child in self.children:
            if child.process is not None and _ended(child.process):
                self._note_crash(child)
            if child.state == PartState.WAITING and self._may_start(child):
                self._start(child)
                self._publish()  # at once: if this process is killed now, the child is still known
            elif child.state == PartState.STARTING and time.monotonic() >= child.probe_at:
                self._probe(child)
        self._publish()

    def _may_start(self, child: Child) -> bool:
        needs_redis = self.children[0].part.name == "redis" and child is not self.children[0]
        if needs_redis and not child.restarts and self.children[0].state != PartState.RUNNING:
            child.note = "waits for redis"
            return False
        return time.monotonic() >= child.start_at

    def _start(self, child: Child) -> None:
        make_folder(child.log.parent, self.settings.umask_bits)
        if child.log.exists() and child.log.stat().st_size > _LOG_LIMIT:
            child.log.replace(child.log.with_suffix(".log.1"))
        with child.log.open("ab") as log:
            child.log_start = log.tell()
            child.process = psutil.Popen(
                child.part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **child.part.environment},
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops the others in order
            )
        child.created = child.process.create_time()
        child.state, child.note = PartState.STARTING, ""
        child.start_at = time.monotonic()

    def _probe(self, child: Child) -> None:
        if is_ready(self.settings, child.part, child.log, child.log_start):
            child.state = PartState.RUNNING
        child.probe_at = time.monotonic() + _PROBE_SECONDS

    def _note_crash(self, child: Child) -> None:
        assert child.process is not None
        # The dead child is not reaped yet, so its id, and with it its group's, cannot belong to anybody else.
        _signal_group(child.process.pid, signal.SIGTERM)
        code = child.process.wait()
        quick = child.state == PartState.STARTING or time.monotonic() - child.start_at < QUICK_SECONDS
        child.quick_crashes = child.quick_crashes + 1 if quick else 1
        child.process, child.created = None, None
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if child.quick_crashes >= GIVE_UP_AFTER:
            child.state = PartState.FAILED
            child.note = f"given up after {child.quick_crashes} crashes in a row, the last {reason}; see {child.log}"
            return
        pause = min(2.0 ** (child.quick_crashes - 1), BACKOFF_LIMIT)
        child.state, child.note = PartState.WAITING, f"{reason}; starts again after {pause:.0f} s"
        child.start_at = time.monotonic() + pause
        child.restarts += 1

    def _stop_all(self) -> None:
        state.stop_parts({child.part.name: child.process for child in self.children if child.process is not None})

    def _publish(self) -> None:
        own = psutil.Process()
        parts = tuple(child.status for child in self.children)
        status = Status(own.pid, own.create_time(), parts)
        if status != self._written:
            state.write(self.settings, status)
            self._written = status
        self.observe(status)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the usual signals stop this supervisor; outside the main thread there are none to catch."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {one: signal.signal(one, lambda *_: self.stop()) for one in wanted}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home; the kernel lets go of it however this process ends."""
    make_folder(settings.run_path, settings.umask_bits)
    with (settings.run_path / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"segadmin runs already for {settings.root}. Look: segadmin status · stop it: segadmin down"
            ) from None
        yield


def _ended(process: psutil.Popen) -> bool:
    """Return whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(leader: int, which: signal.Signals) -> None:
    """Signal what a dead child left behind: a worker's pool processes."""
    try:
        os.killpg(leader, which)
    except (ProcessLookupError, PermissionError):  # nobody is left; macOS says it the second way
        return
