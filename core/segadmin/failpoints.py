"""Failpoints: places in the code at which a test kills, suspends or fails the process, by ``SEGADMIN_FAILPOINT``.

``write:kill`` kills the process the first time it reaches ``write``. ``write@score-0:kill!`` does so every time, but
only in the step of stage ``score`` that starts with bucket 0. Several rules are separated by commas. The state after a
crash depends on its exact place, which a test cannot hit with a sleep.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from segadmin.errors import ConfigurationError, did_you_mean

VARIABLE = "SEGADMIN_FAILPOINT"
#: In the order in which a step reaches them. ``saved`` and ``enqueue`` surround the commit of a new job.
PLACES = ("saved", "enqueue", "claim", "compute", "write", "commit", "committed", "publish", "changes", "deliver")


def reach(place: str, step: str = "", *, first: bool = True) -> None:
    """Run the action that ``SEGADMIN_FAILPOINT`` sets for this place, if any.

    Args:
        place: one of :data:`PLACES`.
        step: stage and first bucket, such as ``score-0``.
        first: whether this is the step's first attempt.
    """
    for rule in filter(None, os.environ.get(VARIABLE, "").split(",")):
        spot, _, action = rule.strip().partition(":")
        at, _, only = spot.partition("@")
        if at not in PLACES or action.rstrip("!") not in ACTIONS:
            hint = did_you_mean(at, PLACES) if at not in PLACES else did_you_mean(action.rstrip("!"), ACTIONS)
            raise ConfigurationError(f"{VARIABLE}={rule!r} is no failpoint.{hint}")
        if at == place and only in {"", step, step.rpartition("-")[0]} and (first or action.endswith("!")):
            ACTIONS[action.rstrip("!")]()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker() -> None:
    """Kill the pool's main process and then this child process, as the loss of a machine does."""
    os.kill(os.getppid(), signal.SIGKILL)
    _kill()


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _terminate_worker() -> None:
    """Send SIGTERM to the pool's main process and continue until it stops this child process."""
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(30)


def _pause() -> None:
    """Write ``paused`` under home, with this process's id, and wait until the file is removed."""
    marker = Path(os.environ.get("SEGADMIN_HOME", ".")) / "paused"
    marker.write_text(str(os.getpid()))
    while marker.exists():
        time.sleep(0.01)


def _exit() -> NoReturn:
    os._exit(7)


def _error(number: int) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def _hang() -> None:
    time.sleep(3600)


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": _kill,
    "kill-worker": _kill_worker,
    "stop": _stop,
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "term-worker": _terminate_worker,
    "pause": _pause,
    "exit": _exit,
    "hang": _hang,
    "enospc": _error(errno.ENOSPC),
    "eio": _error(errno.EIO),
}
