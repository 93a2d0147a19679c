"""The trackers of one fit: started, told of every figure, and never in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

from segadmin.jobs.attempt import Attempt
from segadmin.jobs.curve import finite
from segadmin.learn.prepared import Prepared
from segadmin.learn.tracker import TrackedRun, Tracking
from segadmin.plugins import Plugins, load_plugins
from segadmin.settings import Settings

log = logging.getLogger(__name__)
Options = dict[str, dict[str, Any]]


class Told(TypedDict):
    """What is kept of a tracker's run."""

    where: str  #: to look, or that it failed
    key: str  #: to find it again by; empty where it failed or cannot be added to


@dataclass
class Trackings:
    """What is being tracked; a tracker that fails is left out from then on, and the fit goes on."""

    told: dict[str, Told] = field(default_factory=dict)
    _running: dict[str, Tracking] = field(default_factory=dict)

    def start(self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun) -> None:
        """Start one more."""
        with self._leaving_out(name, "start"):
            begun: Tracking = plugins.make("tracker", name, options).start(run)
            self._running[name] = begun
            self.told[name] = Told(where=begun.where, key=begun.key)

    def add(
        self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun, figures: Mapping[str, float]
    ) -> None:
        """Add figures to a run that has ended."""
        with self._leaving_out(name, "add"):
            plugins.make("tracker", name, options).add(run, self.told[name]["key"], figures)

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
            self.told[name] = Told(where=f"failed: {error!r} in {method}", key="")
            facts = {"action": "track", "tracker": name, "error": repr(error)}
            log.warning("a tracker failed; the fit goes on without it", extra=facts)


def check_trackers(settings: Settings, plugins: Plugins, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that every tracker can be used here, before any work.

    Raises:
        PluginNotFound: there is no such tracker.
        ConfigurationError: it cannot use an option, or its libraries are missing.
    """
    for name, options in wanted.items():
        plugins.make("tracker", name, options).check(settings)


@contextmanager
def tracked(attempt: Attempt, prepared: Prepared) -> Iterator[Trackings]:
    """Track what is fitted in the body, which calls ``log`` and, at the end, ``finish``."""
    plugins, trackings = load_plugins(attempt.settings), Trackings()
    try:
        for tracker, options in prepared.trackers.items():
            attempt.progress(0.0, f"starting {tracker}")
            trackings.start(plugins, tracker, options, _run(attempt, prepared, tracker))
        yield trackings
    finally:
        trackings.abandon()  # nothing is left to abandon where it finished


def add_to_runs(
    attempt: Attempt, prepared: Prepared, told: Mapping[str, Told], figures: Mapping[str, float]
) -> dict[str, Told]:
    """Add ``figures`` to the runs that an earlier stage ``told`` of, and return those that failed now."""
    plugins, trackings = load_plugins(attempt.settings), Trackings({**told})
    for name, one in told.items():
        if one["key"]:
            attempt.progress(0.99, f"telling {name}")
            trackings.add(plugins, name, prepared.trackers[name], _run(attempt, prepared, name), finite(figures))
    return {name: one for name, one in trackings.told.items() if one != told[name]}


def _run(attempt: Attempt, prepared: Prepared, tracker: str) -> TrackedRun:
    name = f"job-{attempt.job_id}" + (f"-attempt-{attempt.number}" if attempt.number > 1 else "")
    folder = attempt.settings.root / "trackers" / tracker
    return TrackedRun(attempt.job_id, attempt.number, name, _config(prepared), folder)


def _config(prepared: Prepared) -> dict[str, Any]:
    recipe = prepared.recipe
    return {
        "backbone": prepared.backbone,
        "backbone_options": prepared.backbone_options,
        "textualizer": recipe.textualizer,
        "textualizer_options": recipe.textualizer_options,
        "language": recipe.language,
        "window_days": recipe.window_days,
        "labels": prepared.label_set,
        "segments": list(prepared.segments),
        "split": prepared.split,
        "augment": prepared.augment,
        "seed": prepared.seed,
        "rows": prepared.data.get("parts", {}),
    }
