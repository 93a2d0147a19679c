"""The trackers of one fit: they receive its metrics, and their errors never stop it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.tracker import TrackedRun, Tracking
from segadmin.errors import INTERRUPTS
from segadmin.learning_curve import finite
from segadmin.settings import Settings
from segadmin.training.context import RunContext

log = logging.getLogger(__name__)
Options = Mapping[str, Mapping[str, Any]]


@dataclass
class Trackings:
    """The running trackers of a fit; one that fails is dropped, and the fit continues."""

    status: dict[str, str] = field(default_factory=dict)  #: tracker → where the run is shown, or its error
    keys: dict[str, str] = field(default_factory=dict)  #: tracker → key of its run, if metrics can be added
    _running: dict[str, Tracking] = field(default_factory=dict)

    def start(self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun) -> None:
        """Start a tracker."""
        with self._dropping_on_error(name, "start"):
            begun: Tracking = plugins.make("tracker", name, options).start(run)
            self._running[name] = begun
            self.status[name] = begun.where
            if begun.key:
                self.keys[name] = begun.key

    def add(
        self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun, metrics: Mapping[str, float]
    ) -> None:
        """Add metrics to a run that has ended."""
        with self._dropping_on_error(name, "add"):
            plugins.make("tracker", name, options).add(run, self.keys[name], metrics)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step to all trackers."""
        if loggable := finite(metrics):
            self._each("log", lambda tracking: tracking.log(step, loggable))

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Send the final metrics to all trackers and end their runs."""
        final = finite(metrics)
        self._each("finish", lambda tracking: tracking.finish(final))
        self._running.clear()

    def abandon(self) -> None:
        """End the runs of all trackers because the fit failed."""
        self._each("abandon", lambda tracking: tracking.abandon())
        self._running.clear()

    def _each(self, method: str, act: Callable[[Tracking], None]) -> None:
        for name, tracking in list(self._running.items()):
            with self._dropping_on_error(name, method):
                act(tracking)

    @contextmanager
    def _dropping_on_error(self, name: str, method: str) -> Iterator[None]:
        try:
            yield
        except INTERRUPTS:
            raise
        except BaseException as error:
            self._running.pop(name, None)
            self.keys.pop(name, None)
            self.status[name] = f"failed: {error!r} in {method}"
            extra = {"action": "track", "tracker": name, "error": repr(error)}
            log.warning("a tracker failed; the job continues without it", extra=extra)


def check_trackers(settings: Settings, plugins: Plugins, trackers: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that every tracker can be used on this machine, before any work.

    Raises:
        PluginNotFound: there is no such tracker.
        ConfigurationError: an option is invalid, or its libraries are missing.
    """
    for name, options in trackers.items():
        plugins.make("tracker", name, options).check(settings)


@contextmanager
def tracked(context: RunContext, trackers: Options, run_of: Callable[[str], TrackedRun]) -> Iterator[Trackings]:
    """Track the fit in the body, which calls ``log`` and, at the end, ``finish``.

    Args:
        context: receives progress.
        trackers: the options of each tracker, by its name.
        run_of: returns the description of the run for a tracker, by its name.
    """
    plugins, trackings = load_plugins(context.settings), Trackings()
    try:
        for tracker, options in trackers.items():
            context.progress(0.0, f"starting {tracker}")
            trackings.start(plugins, tracker, options, run_of(tracker))
        yield trackings
    finally:
        trackings.abandon()  # does nothing after finish()


def add_to_runs(
    context: RunContext,
    trackers: Options,
    run_of: Callable[[str], TrackedRun],
    keys: Mapping[str, str],
    metrics: Mapping[str, float],
) -> dict[str, str]:
    """Add ``metrics`` to the runs that an earlier stage began, by their ``keys``; return the errors by tracker."""
    plugins, trackings = load_plugins(context.settings), Trackings(keys={**keys})
    for name in keys:
        context.progress(0.99, f"sending metrics to {name}")
        trackings.add(plugins, name, trackers[name], run_of(name), finite(metrics))
    return trackings.status
