"""A search over a shop of planted users: its trials in our database, by parallel steps, pruned and cut off."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import inspect, text

from segadmin.errors import ConfigurationError, DataError
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.training.study import study_of
from segadmin.workflows.tune import trials_of
from tests.conftest import Cli
from tests.planted import LABELS, Run

QUICK = {"backbone": "tabular", "backbone_options": {"rounds": "40"}, "labels": LABELS}
SPACE = {"leaves": "2..31:log", "min_users": "5..60", "learning_rate": "0.01,0.1"}


def tune(settings: Settings, **options: object) -> Run:
    request = {**QUICK, "search": SPACE, "trials": 8, **options}
    return Run(settings, "tune", check_request(settings, "tune", request))


def test_trials_are_shared_by_parallel_steps(shop: Settings) -> None:
    job = tune(shop, parallel=2).until("trial")
    first, second = job.attempts("trial")
    done: list[int] = []
    threads = [Thread(target=lambda a=a: done.append(job.call(a).result["trials"])) for a in (first, second)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) in {8, 9}  # two may ask at once for the last
    job.inputs["trial"] = [{"trials": n} for n in done]
    chosen = job.stage("choose")[0]
    assert chosen["best"]["value"] == min(t["value"] for t in chosen["trials"] if t["state"] == "complete")
    assert set(chosen["importance"]) <= set(SPACE)
    assert sum(chosen["importance"].values()) == pytest.approx(1, abs=0.01)
    # What was best can be trained with as it is.
    best = {"backbone": "tabular", "backbone_options": chosen["backbone_options"], "labels": LABELS}
    check_request(shop, "retrain", best)
    # Optuna's tables lie beside ours, and Alembic's mark is still ours.
    with database.engine(shop).connect() as connection:
        assert "trials" in inspect(connection).get_table_names()
        mark = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    assert mark == [database.HEAD]


def test_a_trial_of_a_killed_worker_is_failed(shop: Settings) -> None:
    job = tune(shop, trials=3, parallel=1).until("trial")
    study = study_of(shop, job.job_id)
    dead = study.ask()
    dead.set_user_attr("step", 0)
    job.stage("trial")
    search = trials_of(shop, job.job_id)
    assert search.trials[0].state == "fail"
    assert sum(trial.state in {"complete", "pruned"} for trial in search.trials) == 3


def test_a_search_is_repeated_under_its_seed(shop: Settings) -> None:
    def options(seed: int) -> list[dict[str, object]]:
        job = tune(shop, trials=3, parallel=1, seed=seed).all()
        return [trial["options"] for trial in sorted(job.inputs["choose"][0]["trials"], key=lambda t: t["trial"])]

    assert options(1) == options(1) != options(2)


def test_trials_end_when_the_time_is_up(shop: Settings) -> None:
    job = tune(shop, trials=500, parallel=1, minutes=0.05).until("trial")
    before = time.monotonic()
    assert 0 < job.stage("trial")[0]["trials"] < 500
    assert time.monotonic() - before < 30


def test_invalid_searches_are_refused(shop: Settings) -> None:
    with pytest.raises(ConfigurationError, match="has no option 'leafs'"):
        tune(shop, search={"leafs": "2..31"})
    with pytest.raises(ConfigurationError, match="does not say what to search"):
        tune(shop, backbone="linear", search={}, backbone_options={})
    assert set(tune(shop, search={}).options["search"]) == {"leaves", "learning_rate", "min_users"}
    job = tune(shop, trials=6, parallel=1, search={"learning_rate": "-1,-2"}).until("trial")
    with pytest.raises(Exception, match="learning_rate"):
        job.stage("trial")
    with pytest.raises(DataError, match="No trial came to its end"):
        job.inputs["trial"] = [{}]
        job.stage("choose")


def test_a_language_model_is_pruned_between_its_epochs(shop: Settings) -> None:
    options = {"max_tokens": 24, "batch_size": 64, "words": 300, "width": 64, "layers": 1, "head_steps": 20}
    search = {"learning_rate": "1e-7,5e-3", "epochs": "2..3"}
    request = {"backbone": "tiny", "backbone_options": options, "search": search, "trials": 9, "labels": LABELS}
    job = Run(shop, "tune", check_request(shop, "tune", request | {"parallel": 1})).all()
    states = {trial["state"] for trial in job.inputs["choose"][0]["trials"]}
    assert states == {"complete", "pruned"}
    assert job.inputs["choose"][0]["best"]["options"]["learning_rate"] == "5e-3"


def test_trials_are_shown_on_the_command_line(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    job = tune(shop, trials=4, parallel=1).all()
    output = cli("jobs", "trials", str(job.job_id), "--out", str(tmp_path / "search.html"))
    assert "trials, the best first" in output.stdout
    assert "<svg" in (tmp_path / "search.html").read_text()
    assert len(json.loads(cli("jobs", "trials", str(job.job_id), "--json").stdout)["trials"]) == 4
