"""The trackers of one fit: started, told of every figure, and never in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from segadmin.jobs.attempt import Attempt
from segadmin.jobs.curve import finite
from segadmin.learn.prepared import Prepared
from segadmin.learn.tracker import TrackedRun, Tracking
from segadmin.plugins import Plugins, load_plugins
from segadmin.settings import Settings

log = logging.getLogger(__name__)
Options = dict[str, dict[str, Any]]


@dataclass
class Trackings:
    """What is being tracked; a tracker that fails is left out from then on, and the fit goes on."""

    told: dict[str, str] = field(default_factory=dict)  #: for each tracker where to look, or that it failed
    _running: dict[str, Tracking] = field(default_factory=dict)

    def start(self, plugins: Plugins, name: str, options: Mapping[str, Any], run: TrackedRun) -> None:
        """Start one more."""
        with self._leaving_out(name, "start"):
            self._running[name] = plugins.make("tracker", name, options).start(run)
            self.told[name] = self._running[name].where

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
            self.told[name] = f"failed: {error!r} in {method}"
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
    name = f"job-{attempt.job_id}" + (f"-attempt-{attempt.number}" if attempt.number > 1 else "")
    try:
        for tracker, options in prepared.trackers.items():
            attempt.progress(0.0, f"starting {tracker}")
            folder = attempt.settings.root / "trackers" / tracker
            run = TrackedRun(attempt.job_id, attempt.number, name, _config(prepared), folder)
            trackings.start(plugins, tracker, options, run)
        yield trackings
    finally:
        trackings.abandon()  # nothing is left to abandon where it finished


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
