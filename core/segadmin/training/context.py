"""The context of a long computation, supplied by its caller: a step, a test, or a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from segadmin.contracts.backbone import no_log, no_progress
from segadmin.contracts.plugins import Registered
from segadmin.settings import Settings


def unguarded(_plugin: Registered, _method: str) -> AbstractContextManager[None]:
    """Call a plugin without a guard: the default of :attr:`RunContext.calling`."""
    return nullcontext()


@dataclass(frozen=True)
class RunContext:
    """Progress, checkpoints, and how plugins are called."""

    settings: Settings
    checkpoints: Path  #: a folder that outlives an attempt; a retry resumes from its content
    #: Called with the fraction done (0 to 1) and a short note; raises when the computation must stop.
    progress: Callable[[float, str], None] = no_progress
    log: Callable[[int, Mapping[str, float]], None] = no_log  #: called with a step of a fit and its metrics
    #: Called with a plugin and a method; returns a context in which the method is called.
    calling: Callable[[Registered, str], AbstractContextManager[None]] = unguarded

    def within(self, low: float, high: float, label: str = "") -> RunContext:
        """Return a context whose progress, 0 to 1, maps to ``low`` to ``high`` of this one."""

        def progress(fraction: float, note: str = "") -> None:
            message = ": ".join(part for part in (label, note) if part)
            self.progress(low + fraction * (high - low), message)

        return replace(self, progress=progress)
