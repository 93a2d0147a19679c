"""The most memory that a step takes: the peak of the resident memory of its process while it runs."""

from __future__ import annotations

from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
#: What resets the peak of a process, see proc_pid_clear_refs(5).
_RESET_PEAK = "5"


class PeakMemory:
    """Measures the peak of this process from now on.

    Linux measures it by itself. Elsewhere it is the highest of the moments at which :meth:`look` is called.
    """

    def __init__(self) -> None:
        self._is_kept, self._highest = _reset(), 0

    def look(self) -> int:
        """Return the peak so far, in bytes."""
        self._highest = max(self._highest, _peak() if self._is_kept else _resident())
        return self._highest


def _reset() -> bool:
    """Let the peak begin anew; return whether this machine keeps it."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
        return _peak() > 0
    except OSError:
        return False


def _peak() -> int:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _resident() -> int:
    import psutil  # enqueuing imports this module and measures nothing

    return int(psutil.Process().memory_info().rss)
