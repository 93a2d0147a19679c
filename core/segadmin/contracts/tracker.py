"""The contract of a tracker: who writes the figures of a fit down while it runs, for people to look at elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    from segadmin.settings import Settings


@dataclass(frozen=True)
class TrackedRun:
    """One attempt to fit a model, as a tracker sees it: nothing about single users."""

    job_id: int
    attempt: int  #: 1 for the first; a further one may go on from a checkpoint of the one before
    name: str  #: such as ``job-7``, or ``job-7-attempt-2``
    config: Mapping[str, Any]  #: backbone, its options, labels, seed and the like, JSON only
    folder: Path  #: of this tracker on this machine, for all jobs


class Tracking(ABC):
    """A run that is being tracked. What it raises ends the tracking, and not the fit."""

    where: str  #: where to look at it: a URL, a folder or a command
    key: str = ""  #: by which :meth:`Tracker.add` finds the run again; empty: it cannot be added to

    @abstractmethod
    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Write down the figures at ``step``; all are finite."""

    @abstractmethod
    def finish(self, figures: Mapping[str, float]) -> None:
        """Write down the final figures, on the validation rows, and end."""

    def abandon(self) -> None:  # noqa: B027  (some need nothing)
        """End, because the fit failed or was cancelled; by default nothing."""


class Tracker(ABC):
    """A cheap description of a tracker. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]  #: what ``--tracker`` takes
    requires: ClassVar[tuple[str, ...]] = ()  #: modules that it needs
    brought_by: ClassVar[str] = ""  #: what to install where they are missing, such as ``segadmin[wandb]``

    def check(self, settings: Settings) -> None:
        """Check, before any work, that the libraries are here.

        Raises:
            ConfigurationError: naming those that are missing, and what brings them.
        """
        missing = [module for module in self.requires if find_spec(module) is None]
        if missing:
            raise ConfigurationError(
                f"The tracker {self.name!r} needs {', '.join(missing)}, not installed here. "
                f"Run: pip install '{self.brought_by or ' '.join(missing)}'"
            )

    @abstractmethod
    def start(self, run: TrackedRun) -> Tracking:
        """Begin to track a run."""

    def add(self, run: TrackedRun, key: str, figures: Mapping[str, float]) -> None:  # noqa: B027  (some cannot)
        """Write down figures of a run that has ended, such as ``test/auroc``; by default nothing.

        Called once the fitted model was tested, perhaps twice, and perhaps on another machine than :meth:`start`.
        """
