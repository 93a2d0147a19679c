"""The trackers of one fit: started, told of every figure, and never in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.tracker import TrackedRun, Tracking
from segadmin.learning_curve import finite
from segadmin.settings import Settings
from segadmin.training.context import RunContext

log = logging.getLogger(__name__)
Options = Mapping[str, Mapping[str, Any]]


@dataclass
class Trackings:
    """What is being tracked; a tracker that fails is left out from then on, and the fit goes on."""

    told: dict[str, str] = field(default_factory=dict)  #: for each tracker where to look, or that it failed
    keys: dict[str, str] = field(default_factory=dict)  #: by which a run is found again, of those that can be added to
    _running: dict[str, Tracking] = field(default_factory=dict)

    def start(self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun) -> None:
        """Start one more."""
        with self._leaving_out(name, "start"):
            begun: Tracking = plugins.make("tracker", name, options).start(run)
            self._running[name] = begun
            self.told[name] = begun.where
            if begun.key:
                self.keys[name] = begun.key

    def add(
        self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun, figures: Mapping[str, float]
    ) -> None:
        """Add figures to a run that has ended."""
        with self._leaving_out(name, "add"):
            plugins.make("tracker", name, options).add(run, self.keys[name], figures)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell all of them the figures of a step."""
        if known := finite(figures):
            self._each("log", lambda one: one.log(step, known))

    def finish(self, figures: Mapping[str, float]) -> None:
        """Tell all of them the final figures, and that this was all."""
        known = finite(figures)
        self._each("finish", lambda one: one.finish(known))
        self._running.clear()

    def abandon(self) -> None:
        """Tell all of them that the fit came to nothing."""
        self._each("abandon", lambda one: one.abandon())
        self._running.clear()

    def _each(self, method: str, act: Callable[[Tracking], None]) -> None:
        for name, one in list(self._running.items()):
            with self._leaving_out(name, method):
                act(one)

    @contextmanager
    def _leaving_out(self, name: str, method: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            self._running.pop(name, None)
            self.keys.pop(name, None)
            self.told[name] = f"failed: {error!r} in {method}"
            facts = {"action": "track", "tracker": name, "error": repr(error)}
            log.warning("a tracker failed; the job goes on without it", extra=facts)


def check_trackers(settings: Settings, plugins: Plugins, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that every tracker can be used here, before any work.

    Raises:
        PluginNotFound: there is no such tracker.
        ConfigurationError: it cannot use an option, or its libraries are missing.
    """
    for name, options in wanted.items():
        plugins.make("tracker", name, options).check(settings)


@contextmanager
def tracked(context: RunContext, trackers: Options, run_of: Callable[[str], TrackedRun]) -> Iterator[Trackings]:
    """Track what is fitted in the body, which calls ``log`` and, at the end, ``finish``.

    Args:
        context: whose progress is reported.
        trackers: the options of each tracker, by its name.
        run_of: returns what a tracker, named, is told of the run.
    """
    plugins, trackings = load_plugins(context.settings), Trackings()
    try:
        for tracker, options in trackers.items():
            context.progress(0.0, f"starting {tracker}")
            trackings.start(plugins, tracker, options, run_of(tracker))
        yield trackings
    finally:
        trackings.abandon()  # nothing is left to abandon where it finished


def add_to_runs(
    context: RunContext,
    trackers: Options,
    run_of: Callable[[str], TrackedRun],
    keys: Mapping[str, str],
    metrics: Mapping[str, float],
) -> dict[str, str]:
    """Add ``metrics`` to the runs that an earlier stage began, by their ``keys``; return which failed, and why."""
    plugins, trackings = load_plugins(context.settings), Trackings(keys={**keys})
    for name in keys:
        context.progress(0.99, f"telling {name}")
        trackings.add(plugins, name, trackers[name], run_of(name), finite(metrics))
    return trackings.told
