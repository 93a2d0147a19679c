"""A retrain through the engine, in this process: its trackers, and the curves that commands show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segadmin.errors import StepFenced
from segadmin.jobs import control
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings, get_settings
from segadmin.storage.records import JobState
from tests.conftest import Cli
from tests.planted import LABELS, retrain, through_the_engine

pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_BROKEN = """
import segadmin

class Broken(segadmin.Tracker):
    name = "broken"
    def start(self, run):
        raise ConnectionError("nobody answers")

@segadmin.hookimpl
def register_trackers():
    return [Broken]
"""


@pytest.mark.usefixtures("shop")
def test_a_retrain_stores_its_curve_and_reports_to_trackers(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "broken.py").write_text(_BROKEN)
    monkeypatch.setenv("SEGADMIN_PLUGIN_FILES", str(tmp_path / "broken.py"))
    monkeypatch.setenv("SEGADMIN_TRACKERS", "tensorboard, broken")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    get_settings.cache_clear()
    settings = get_settings()
    options = {"backbone": "tabular", "backbone_options": {"rounds": "30", "min_users": "5"}, "labels": LABELS}
    quick = {**options, "baselines": ["tabular"]}
    checked = check_request(settings, "retrain", quick)
    assert checked["trackers"] == ["tensorboard", "broken"]
    checked = check_request(settings, "retrain", {**quick, "trackers": ["tensorboard", "mlflow", "broken"]})

    job = through_the_engine(settings, "retrain", checked)
    seen = control.view(settings, job)
    assert seen.job.state == JobState.SUCCEEDED, seen.job.error

    steps = {step.stage: step for step in seen.steps}
    curve = [(step, figures["validation_log_loss"]) for step, figures in steps["finetune"].curve]
    assert [step for step, _ in curve] == list(range(1, len(curve) + 1))
    assert curve[-1][1] < curve[0][1]
    assert {name for _, figures in steps["baselines"].curve for name in figures} == {"tabular/validation_log_loss"}
    trackers = steps["finetune"].result["trackers"]
    assert trackers["broken"] == "failed: ConnectionError('nobody answers') in start"
    assert not steps["evaluate"].result["trackers"], "none failed that had not failed before"

    home = settings.root / "trackers"
    events = EventAccumulator(str(home / "tensorboard" / f"job-{job}")).Reload()
    logged = [(point.step, point.value) for point in events.Scalars("validation_log_loss")]
    assert logged == [(step, pytest.approx(value)) for step, value in curve]
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("segadmin")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (f"job-{job}", "FINISHED")
    assert run.data.params["backbone"] == "tabular"
    assert 0 < run.data.metrics["final/validation_log_loss"] < 1.1
    assert 0.5 < run.data.metrics["final/validation_auroc"] < 1
    tested = {row["split"]: row for row in steps["evaluate"].result["evaluations"]}
    assert run.data.metrics["test/auroc"] == tested["test"]["auroc"]
    assert run.data.metrics["test_unseen_users/auroc"] == tested["test, unseen users"]["auroc"]
    assert 0.5 < run.data.metrics["test/tabular/auroc"] < 1
    assert events.Scalars("test/auroc")[-1].value == pytest.approx(tested["test"]["auroc"])

    first, last = (f"{value:.4f}".removeprefix("0") for value in (curve[0][1], curve[-1][1]))
    shown = cli("jobs", "show", str(job)).stdout
    assert shown.count("mlflow: ") == 1
    assert f"{first} → {last}" in shown
    assert f"tensorboard: tensorboard --logdir {home / 'tensorboard'}" in shown
    assert f"{first} → {last}" in cli("jobs", "watch", str(job)).stdout
    facts = json.loads(cli("jobs", "show", str(job), "--json").stdout)
    [tuned] = [step for step in facts["steps"] if step["stage"] == "finetune"]
    assert [step for step, _ in tuned["curve"]] == [step for step, _ in curve]


def test_each_attempt_is_a_tracked_run_with_its_own_status(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = retrain(shop, trackers=["tensorboard", "mlflow"], baselines=[]).until("finetune")
    [first], [second] = (run.attempts("finetune", number) for number in (1, 2))
    log_of_first = first.log

    def log(step: int, figures: dict[str, float]) -> None:
        log_of_first(step, figures)
        first.lost.set()  # somebody cancels the job meanwhile

    monkeypatch.setattr(first, "log", log)
    with pytest.raises(StepFenced):
        run.call(first)
    trackers = run.call(second).result["trackers"]
    assert not any(where.startswith("failed") for where in trackers.values())
    client = MlflowClient(tracking_uri=f"sqlite:///{shop.root / 'trackers' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("segadmin")
    assert experiment is not None
    states = {tracked.info.run_name: tracked.info.status for tracked in client.search_runs([experiment.experiment_id])}
    assert states == {f"job-{run.job_id}": "FAILED", f"job-{run.job_id}-attempt-2": "FINISHED"}
