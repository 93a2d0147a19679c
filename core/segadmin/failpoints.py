"""Places where a test makes this very process die, stop or fail, chosen by ``SEGADMIN_FAILPOINT``.

``write:kill`` kills the process at its first arrival at ``write``; ``write@score-0:kill!`` does so at every arrival,
but only in the step of stage ``score`` that starts with bucket 0. Several are separated by commas. What a crash
leaves behind depends on where it comes, and a sleep in a test only guesses where that is.
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
#: In the order in which a step comes by. ``saved`` and ``enqueue`` are around the commit of a new job.
PLACES = ("saved", "enqueue", "claim", "compute", "write", "commit", "committed", "publish")


def reach(place: str, step: str = "", *, first: bool = True) -> None:
    """Do what ``SEGADMIN_FAILPOINT`` says for this place, if anything.

    Args:
        place: one of :data:`PLACES`.
        step: stage and first bucket, such as ``score-0``.
        first: whether this step comes by for the first time.
    """
    for rule in filter(None, os.environ.get(VARIABLE, "").split(",")):
        where, _, action = rule.strip().partition(":")
        at, _, only = where.partition("@")
        if at not in PLACES or action.rstrip("!") not in ACTIONS:
            known = did_you_mean(at, PLACES) if at not in PLACES else did_you_mean(action.rstrip("!"), ACTIONS)
            raise ConfigurationError(f"{VARIABLE}={rule!r} is no failpoint.{known}")
        if at == place and only in {"", step, step.rpartition("-")[0]} and (first or action.endswith("!")):
            ACTIONS[action.rstrip("!")]()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker() -> None:
    """Kill the pool's main process and then this child of it, as the loss of a machine does."""
    os.kill(os.getppid(), signal.SIGKILL)
    _kill()


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _terminate_worker() -> None:
    """Ask the pool's main process to stop, and go on until it tells us."""
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(30)


def _pause() -> None:
    """Wait until the file that says where this process is has been removed."""
    here = Path(os.environ.get("SEGADMIN_HOME", ".")) / "paused"
    here.write_text(str(os.getpid()))
    while here.exists():
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
