"""The limits of one step: time, and memory of the process that runs it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from segadmin.errors import LimitExceeded, PluginError, SegadminError
from segadmin.settings import Settings

_GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """The limits of a step that began just now, in this process."""

    seconds: float
    memory_gib: float  #: 0: no limit
    began: float  #: on the monotonic clock

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits that ``settings`` set."""
        return cls(settings.step_seconds, settings.step_memory_gib, time.monotonic())

    def exceeded(self, calling: str) -> SegadminError | None:
        """Return the error of an exceeded limit, if any; ``calling`` is the plugin method that runs."""
        import psutil  # enqueuing imports this module and measures nothing

        if (took := time.monotonic() - self.began) > self.seconds:
            what = f"ran {took:.0f} s; a step may run {self.seconds:g} s"
            fix = "Raise SEGADMIN_STEP_SECONDS if that is too little."
        elif self.memory_gib and (used := psutil.Process().memory_info().rss / _GIB) > self.memory_gib:
            what = f"took {used:.2f} GiB of memory; a step may take {self.memory_gib:g} GiB"
            fix = "Raise SEGADMIN_STEP_MEMORY_GIB, or cut finer: SEGADMIN_FAN_OUT, SEGADMIN_BUCKETS."
        else:
            return None
        if calling:
            return PluginError(f"It {what} and was stopped while it called {calling}. {fix}")
        return LimitExceeded(f"It {what} and was stopped. {fix}")
