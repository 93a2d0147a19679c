"""The contract of a tracker: sends the metrics of a running fit to an experiment tracker."""

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
    """One attempt to fit a model, as it is tracked; it contains nothing about single users."""

    job_id: int
    attempt: int  #: from 1; a later attempt may resume from a checkpoint of the previous one
    name: str  #: such as ``job-7``, or ``job-7-attempt-2``
    config: Mapping[str, Any]  #: backbone, options, labels, seed and so on, JSON only
    folder: Path  #: the folder of this tracker on this machine, for all jobs


class Tracking(ABC):
    """A run that is being tracked. An exception ends the tracking, not the fit."""

    where: str  #: where the run is shown: a URL, a folder or a command
    key: str = ""  #: identifies the run for :meth:`Tracker.add`; empty if nothing can be added

    @abstractmethod
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of ``step``; all are finite."""

    @abstractmethod
    def finish(self, metrics: Mapping[str, float]) -> None:
        """Log the final metrics, on the validation rows, and end the run."""

    def abandon(self) -> None:  # noqa: B027  (optional)
        """End the run because the fit failed or was cancelled; by default nothing."""


class Tracker(ABC):
    """A tracker and its options. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]  #: the value of ``--tracker``
    requires: ClassVar[tuple[str, ...]] = ()  #: names of the modules that it needs
    brought_by: ClassVar[str] = ""  #: the package to install if they are missing, such as ``segadmin[wandb]``

    def check(self, settings: Settings) -> None:
        """Check, before any work, that the libraries are installed.

        Raises:
            ConfigurationError: with the missing modules and the command that installs them.
        """
        missing = [module for module in self.requires if find_spec(module) is None]
        if missing:
            raise ConfigurationError(
                f"The tracker {self.name!r} needs {', '.join(missing)}, not installed here. "
                f"Run: pip install '{self.brought_by or ' '.join(missing)}'"
            )

    @abstractmethod
    def start(self, run: TrackedRun) -> Tracking:
        """Start to track a run."""

    def add(self, run: TrackedRun, key: str, metrics: Mapping[str, float]) -> None:  # noqa: B027  (optional)
        """Add metrics such as ``test/auroc`` to a run that has ended; by default nothing.

        Called after the fitted model was tested, possibly more than once and on another machine than :meth:`start`.
        """
