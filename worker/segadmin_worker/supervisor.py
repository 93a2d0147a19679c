"""The supervisor of one machine: starts the services, restarts those that crash or hang, and stops all in order."""

from __future__ import annotations

import fcntl
import logging
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
from segadmin_worker.client import key_problem
from segadmin_worker.readiness import is_ready
from segadmin_worker.services import Service
from segadmin_worker.state import ServiceState, ServiceStatus, Status

log = logging.getLogger(__name__)
#: Pauses between two looks at the processes, and between two readiness checks of a service.
_POLL_SECONDS, _PROBE_SECONDS = 0.25, 1.0
#: If a service ends within this time after its start, it is a quick crash.
QUICK_SECONDS = 10.0
#: After this number of consecutive quick crashes a service is not restarted.
GIVE_UP_AFTER = 5
#: Longest pause before a restart, in seconds.
BACKOFF_LIMIT = 30.0
#: Services that do without the keys of the broker.
_WITHOUT_KEYS = frozenset({"redis", "web"})
#: A larger log file is rotated at the next start; bytes.
_LOG_LIMIT = 10_000_000


@dataclass
class Child:
    """A service and its process, if it has one now."""

    service: Service
    log: Path
    state: ServiceState = ServiceState.WAITING
    process: psutil.Popen | None = None
    created: float | None = None
    log_start: int = 0
    restarts: int = 0
    quick_crashes: int = 0
    start_at: float = 0.0  #: on the monotonic clock, in seconds
    probe_at: float = 0.0
    note: str = ""
    reason: str = ""  #: why it was killed
    looked: float | None = None  #: when it last looked, in seconds since the epoch; see :func:`state.last_look`
    noticed_at: float = 0.0  #: when this was noticed, on the monotonic clock, which nobody adjusts

    @property
    def status(self) -> ServiceStatus:
        """The public status."""
        pid = self.process.pid if self.process else None
        return ServiceStatus(
            self.service.name, self.state, pid, self.created, self.restarts, self.note, str(self.log), self.service.url
        )


@dataclass
class Supervisor:
    """Runs ``services`` until :meth:`stop` or a signal.

    Redis starts first and stops last; the others start when it is ready. ``observe`` is called with the status
    several times a second.
    """

    settings: Settings
    services: Sequence[Service]
    observe: Callable[[Status], None] = lambda _status: None
    children: list[Child] = field(init=False)
    _stopping: bool = field(default=False, init=False)
    _written: Status | None = field(default=None, init=False)
    _key_problem: str | None = field(default=None, init=False)
    _keys_checked_at: float = field(default=float("-inf"), init=False)  #: on the monotonic clock, in seconds

    def __post_init__(self) -> None:
        self.children = [Child(service, self.settings.run_path / f"{service.name}.log") for service in self.services]

    def run(self) -> None:
        """Start the services, and return after SIGTERM, SIGINT, SIGHUP or :meth:`stop`.

        Raises:
            ConfigurationError: a supervisor of this home is running already.
        """
        with _exclusive(self.settings), self._signals():
            state.stop_leftovers(self.settings)
            try:
                while not self._stopping:
                    self._poll()
                    time.sleep(_POLL_SECONDS)
            finally:
                self._stop_all()
                state.path(self.settings).unlink(missing_ok=True)

    def stop(self) -> None:
        """Make :meth:`run` stop everything and return."""
        self._stopping = True

    def _poll(self) -> None:
        for child in self.children:
            if child.process is not None and _ended(child.process):
                self._note_crash(child)
            elif child.process is not None and child.service.name == "beat":
                self._kill_if_hung(child)
            if child.state in {ServiceState.WAITING, ServiceState.BLOCKED} and self._may_start(child):
                self._start(child)
                self._publish()  # at once, so that the child can be found if this process is killed now
            elif child.state == ServiceState.STARTING and time.monotonic() >= child.probe_at:
                self._probe(child)
        self._publish()

    def _may_start(self, child: Child) -> bool:
        needs_redis = self.children[0].service.name == "redis" and child is not self.children[0]
        if needs_redis and not child.restarts and self.children[0].state != ServiceState.RUNNING:
            child.note = "waits for redis"
            return False
        return time.monotonic() >= child.start_at and not self._is_blocked(child)

    def _is_blocked(self, child: Child) -> bool:
        """Return whether the keys in the broker would end ``child``, and note why."""
        if child.service.name in _WITHOUT_KEYS:
            return False
        if time.monotonic() >= self._keys_checked_at + _PROBE_SECONDS:
            self._key_problem, self._keys_checked_at = key_problem(self.settings), time.monotonic()
        if self._key_problem is not None:
            child.state, child.note = ServiceState.BLOCKED, self._key_problem
        return self._key_problem is not None

    def _start(self, child: Child) -> None:
        make_folder(child.log.parent, self.settings.umask_bits)
        if child.log.exists() and child.log.stat().st_size > _LOG_LIMIT:
            child.log.replace(child.log.with_suffix(".log.1"))
        with child.log.open("ab") as log:
            child.log_start = log.tell()
            child.process = psutil.Popen(
                child.service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **child.service.environment},
                start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the services in order
            )
        child.created = child.process.create_time()
        child.state, child.note = ServiceState.STARTING, ""
        child.start_at = time.monotonic()

    def _probe(self, child: Child) -> None:
        if is_ready(self.settings, child.service, child.log, child.log_start):
            child.state = ServiceState.RUNNING
        child.probe_at = time.monotonic() + _PROBE_SECONDS

    def _kill_if_hung(self, child: Child) -> None:
        """Kill beat if it has been silent for too long; a stopped process would not take a politer signal."""
        assert child.process is not None
        if (looked := state.last_look(self.settings)) != child.looked:
            child.looked, child.noticed_at = looked, time.monotonic()
        silence = time.monotonic() - max(child.noticed_at, child.start_at)
        if silence > state.silence_allowed(self.settings, has_looked=child.noticed_at > child.start_at):
            child.reason = f"did not look for due schedules for {silence:.0f} s"
            log.error("beat hangs and is killed", extra={"action": "hung", "seconds": round(silence)})
            child.process.kill()

    def _note_crash(self, child: Child) -> None:
        assert child.process is not None
        # The child is not reaped yet, so its process id and group id cannot have been reused.
        _signal_group(child.process.pid, signal.SIGTERM)
        code = child.process.wait()
        is_quick = child.state == ServiceState.STARTING or time.monotonic() - child.start_at < QUICK_SECONDS
        child.quick_crashes = child.quick_crashes + 1 if is_quick else 1
        child.process, child.created = None, None
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        reason, child.reason = child.reason or reason, ""
        if child.quick_crashes >= GIVE_UP_AFTER:
            child.state = ServiceState.FAILED
            child.note = f"given up after {child.quick_crashes} crashes in a row, the last {reason}; see {child.log}"
            return
        pause = min(2.0 ** (child.quick_crashes - 1), BACKOFF_LIMIT)
        child.state, child.note = ServiceState.WAITING, f"{reason}; starts again after {pause:.0f} s"
        child.start_at = time.monotonic() + pause
        child.restarts += 1

    def _stop_all(self) -> None:
        state.stop_services({child.service.name: child.process for child in self.children if child.process is not None})

    def _publish(self) -> None:
        own = psutil.Process()
        services = tuple(child.status for child in self.children)
        status = Status(own.pid, own.create_time(), services)
        if status != self._written:
            state.write(self.settings, status)
            self._written = status
        self.observe(status)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop this supervisor on the usual signals; outside the main thread, signals cannot be handled."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        previous = {number: signal.signal(number, lambda *_: self.stop()) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def _exclusive(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home; the kernel releases it however this process ends."""
    make_folder(settings.run_path, settings.umask_bits)
    with (settings.run_path / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"segadmin runs already for {settings.root}. See: segadmin status · stop it: segadmin down"
            ) from None
        yield


def _ended(process: psutil.Popen) -> bool:
    """Return whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to the process group of a child that ended: to the pool processes of a worker."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # the group is empty; macOS reports that by PermissionError
        return
