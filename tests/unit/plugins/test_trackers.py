"""Every built-in tracker really writes what its own program reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.tracker import TrackedRun, Tracker
from segadmin.settings import Settings

BUILT_IN = ["mlflow", "tensorboard", "wandb"]
#: MLflow's own models under SQLAlchemy 2.1, and protobuf's and TensorBoard's own code.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)


def _made(settings: Settings, name: str, **options: str) -> Tracker:
    tracker: Tracker = load_plugins(settings).make("tracker", name, options)
    tracker.check(settings)
    return tracker


def _run(folder: Path, attempt: int = 1) -> TrackedRun:
    config = {"backbone": "tiny", "backbone_options": {"epochs": "2"}, "segments": ["低", "high"], "seed": 17}
    return TrackedRun(7, attempt, f"job-7-{attempt}", config, folder)


def _track(tracker: Tracker, run: TrackedRun, steps: range = range(1, 4)) -> str:
    tracking = tracker.start(run)
    for step in steps:
        tracking.log(step, {"validation_log_loss": 1 / step, "validation_auroc": 0.5})
    tracking.finish({"validation_log_loss": 0.25})
    for _ in range(2):  # the stage that tests may be run again
        tracker.add(run, tracking.key, {"test/auroc": 0.875})
    return tracking.where


def test_these_are_built_in(settings: Settings) -> None:
    assert load_plugins(settings).names("tracker") == BUILT_IN


def test_tensorboard_reads_its_events_and_a_resumed_fit_replaces_what_came_after(
    settings: Settings, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = _made(settings, "tensorboard")
    first = tracker.start(_run(tmp_path))
    for step in (1, 2, 3):
        first.log(step, {"validation_log_loss": 9.0})
    first.abandon()
    assert _track(tracker, _run(tmp_path, 2), range(2, 5)) == f"tensorboard --logdir {tmp_path}"
    events = EventAccumulator(str(tmp_path / "job-7")).Reload()
    losses = [(scalar.step, round(scalar.value, 4)) for scalar in events.Scalars("validation_log_loss")]
    assert losses == [(1, 9.0), (2, 0.5), (3, 0.3333), (4, 0.25)]
    assert [(scalar.step, scalar.value) for scalar in events.Scalars("final/validation_log_loss")] == [(4, 0.25)]
    assert {scalar.value for scalar in events.Scalars("test/auroc")} == {0.875}
    assert "config/text_summary" in events.Tags()["tensors"]


def test_wandb_writes_a_folder_that_can_be_sent_later(settings: Settings, tmp_path: Path) -> None:
    tracker = _made(settings, "wandb", project="shop")
    places = {_track(tracker, _run(tmp_path, attempt)).removeprefix("wandb sync ") for attempt in (1, 2)}
    assert len(places) == 2
    for place in map(Path, places):
        assert place.parent == tmp_path / "wandb"
        first, *added = sorted(place.parent.glob(f"{place.name}/run-*.wandb"))
        assert len(added) == 2
        assert all(b"test/auroc" in path.read_bytes() for path in added)
        content = first.read_bytes()
        for words in (b"shop", b"job-7", b"validation_log_loss", b"fit_step", b"final/validation_log_loss", b"epochs"):
            assert words in content
        assert str(Path.cwd()).encode() not in content


def test_wandb_can_be_abandoned(settings: Settings, tmp_path: Path) -> None:
    tracking = _made(settings, "wandb").start(_run(tmp_path))
    tracking.log(1, {"validation_log_loss": 0.7})
    tracking.abandon()
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.parametrize("kind", ["database", "folder"])
def test_mlflow_reads_its_runs(settings: Settings, tmp_path: Path, kind: str) -> None:
    from mlflow import MlflowClient

    options = {"experiment": "shop"} | ({"uri": (tmp_path / "runs").as_uri()} if kind == "folder" else {})
    uri = options.get("uri", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker = _made(settings, "mlflow", **options)
    where = _track(tracker, _run(tmp_path))
    assert uri in where
    tracker.start(_run(tmp_path, 2)).abandon()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shop")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"job-7-1": "FINISHED", "job-7-2": "FAILED"}
    done = runs["job-7-1"]
    assert done.info.run_id in where
    losses = [
        (metric.step, metric.value) for metric in client.get_metric_history(done.info.run_id, "validation_log_loss")
    ]
    assert losses == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert done.data.metrics["final/validation_log_loss"] == 0.25
    assert done.data.metrics["test/auroc"] == 0.875
    assert done.data.params["backbone_options.epochs"] == "2"
    assert json.loads(done.data.params["segments"]) == ["低", "high"]
    assert done.data.tags["segadmin.job"] == "7"


def test_mlflow_is_imported_with_its_telemetry_off(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from segadmin.contracts.tracker import TrackedRun;"
        "from segadmin_plugins.trackers.mlflow import MlFlow;"
        "MlFlow().start(TrackedRun(7, 1, 'job-7', {}, Path(sys.argv[1])));"
        "from mlflow.telemetry import get_telemetry_client; assert get_telemetry_client() is None"
    )
    # MLflow is silent in tests anyway, by what it finds there.
    telling = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_CURRENT_TEST"}}
    telling.pop("MLFLOW_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=telling)
