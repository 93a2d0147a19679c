"""Trackers are never in the way of a fit, and what is asked of them is checked before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.tracker import TrackedRun
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.training.tracking import Trackings, check_trackers
from segadmin.workflows.retrain import Retrain

FILE = """
from dataclasses import dataclass
import segadmin

@dataclass(frozen=True)
class Notes(segadmin.Tracker):
    name = "notes"
    fails_in: str = ""

    def start(self, run):
        told = Told(run, self.fails_in)
        told.say("start")
        return told

    def add(self, run, key, figures):
        Told(run, self.fails_in).say("add", key, figures)

class Told(segadmin.Tracking):
    def __init__(self, run, fails_in):
        self.file, self.fails_in = run.folder / "notes.txt", fails_in
        self.where, self.key = str(self.file), str(run.job_id)

    def say(self, word, *more):
        if word == self.fails_in:
            raise RuntimeError("no network")
        with self.file.open("a") as file:
            print(word, *more, file=file)

    def log(self, step, figures):
        self.say("log", step, figures)

    def finish(self, figures):
        self.say("finish", figures)

    def abandon(self):
        self.say("abandon")

class Stranger(Notes):
    name = "stranger"
    requires = ("json", "nowhere_to_be_found")
    brought_by = "shop-stranger"

@segadmin.hookimpl
def register_trackers():
    return [Notes, Stranger]
"""


@pytest.fixture
def plugins(settings: Settings, tmp_path: Path) -> Plugins:
    path = tmp_path / "noting.py"
    path.write_text(FILE)
    return load_plugins(settings.model_copy(update={"plugin_files": (path,)}))


def _run(tmp_path: Path) -> TrackedRun:
    return TrackedRun(7, 1, "job-7", {}, tmp_path)


def test_trackers_get_all_metrics_except_nan(plugins: Plugins, tmp_path: Path) -> None:
    trackings = Trackings()
    trackings.start(plugins, "notes", {}, _run(tmp_path))
    trackings.log(1, {"loss": 0.5, "auroc": float("nan")})
    trackings.log(2, {"auroc": float("nan")})
    trackings.finish({"loss": 0.25})
    trackings.abandon()
    assert (tmp_path / "notes.txt").read_text().splitlines() == [
        "start",
        "log 1 {'loss': 0.5}",
        "finish {'loss': 0.25}",
    ]
    assert trackings.status == {"notes": str(tmp_path / "notes.txt")}
    assert trackings.keys == {"notes": "7"}


@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_skipped_and_named(
    plugins: Plugins, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    trackings = Trackings()
    trackings.start(plugins, "notes", {"fails_in": method}, _run(tmp_path))
    for step in (1, 2):
        trackings.log(step, {"loss": 0.5})
    trackings.finish({"loss": 0.5})
    assert trackings.status == {"notes": f"failed: RuntimeError('no network') in {method}"}
    assert trackings.keys == {}
    assert len(caplog.records) == 1
    assert caplog.records[0].levelname == "WARNING"


def test_a_tracker_that_cannot_be_added_to_is_named(plugins: Plugins, tmp_path: Path) -> None:
    trackings = Trackings(keys={"notes": "7", "stranger": "7"})
    trackings.add(plugins, "notes", {}, _run(tmp_path), {"test/auroc": 0.75})
    trackings.add(plugins, "stranger", {"fails_in": "add"}, _run(tmp_path), {"test/auroc": 0.75})
    assert (tmp_path / "notes.txt").read_text() == "add 7 {'test/auroc': 0.75}\n"
    assert trackings.status == {"stranger": "failed: RuntimeError('no network') in add"}


def test_libraries_are_looked_for_before_any_work(settings: Settings, plugins: Plugins) -> None:
    words = r"The tracker 'stranger' needs nowhere_to_be_found, not installed here. Run: pip install 'shop-stranger'"
    with pytest.raises(ConfigurationError, match=words):
        check_trackers(settings, plugins, {"notes": {}, "stranger": {}})


def test_options_go_to_their_tracker() -> None:
    options = Retrain(trackers=("mlflow", "tensorboard"), tracker_options={"mlflow.uri": "http://mlflow:5000"})
    assert options.tracker_settings() == {"mlflow": {"uri": "http://mlflow:5000"}, "tensorboard": {}}
    assert Retrain().tracker_settings() == {}


@pytest.mark.parametrize("option", ["wandb.project", "uri", "mlflow."])
def test_an_option_of_no_tracker_is_refused(option: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"The tracker option '{option}' is not TRACKER.OPTION=VALUE, .*mlflow"
    ):
        Retrain(trackers=("mlflow",), tracker_options={option: "x"}).tracker_settings()
