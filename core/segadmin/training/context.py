"""What a long computation gets from whoever runs it: a job's step, a test, or a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from segadmin.contracts.backbone import no_log, no_progress
from segadmin.contracts.plugins import Registered
from segadmin.settings import Settings


def unguarded(_plugin: Registered, _method: str) -> AbstractContextManager[None]:
    """Call a plugin as it is: the default of :attr:`RunContext.calling`."""
    return nullcontext()


@dataclass(frozen=True)
class RunContext:
    """Progress, checkpoints, and how plugins are called."""

    settings: Settings
    checkpoints: Path  #: a folder that outlives an attempt: what is run again goes on from what is there
    #: Called with the fraction done (0 to 1) and a few words; raises when the computation must stop.
    progress: Callable[[float, str], None] = no_progress
    log: Callable[[int, Mapping[str, float]], None] = no_log  #: called with a step of a fit and its metrics
    #: Called with a plugin and the method that is called inside of what it returns.
    calling: Callable[[Registered, str], AbstractContextManager[None]] = unguarded

    def within(self, low: float, high: float, label: str = "") -> RunContext:
        """Return a context whose progress, 0 to 1, is from ``low`` to ``high`` of this one's."""

        def progress(fraction: float, note: str = "") -> None:
            noted = ": ".join(part for part in (label, note) if part)
            self.progress(low + fraction * (high - low), noted)

        return replace(self, progress=progress)
