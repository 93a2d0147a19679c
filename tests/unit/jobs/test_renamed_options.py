"""Options that were renamed: what is stored under their old names stays readable."""

from __future__ import annotations

from typing import Any

import pytest

from segadmin.errors import ConfigurationError
from segadmin.jobs import control
from segadmin.jobs.enqueue import ask, enqueue
from segadmin.jobs.requests import check_request, chosen_options
from segadmin.jobs.schedules import add, run
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState, LabelSet
from segadmin.text.recipe import Recipe
from segadmin.workflows.retrain_request import Retrain
from segadmin.workflows.training_data import PreparedTraining
from tests.unit.jobs.conftest import Messages

#: What a version before the renaming stored of a job.
OLD: dict[str, Any] = {"backbone": "tabular", "labels": "spend3", "baselines": [], "also": [], "precision": 0.7}


@pytest.fixture
def store(engine_settings: Settings) -> Settings:
    """A store with one label set, as far as SQL knows."""
    with transaction(engine_settings) as session:
        session.add(LabelSet(name="spend3", labeler="table", segments=["low", "high"], rows=10))
    return engine_settings


def test_an_old_request_means_the_same() -> None:
    old = Retrain.model_validate({"also": ["lapse"], "precision": 0.7})
    assert old == Retrain(auxiliary_labels=("lapse",), min_precision=0.7)
    assert chosen_options("retrain", {"precision": 0.7}) == {"min_precision": 0.7}
    with pytest.raises(ConfigurationError, match=r"has no option 'precison'\. Did you mean 'min_precision'"):
        chosen_options("retrain", {"precison": 0.7})


def test_a_failed_old_job_can_be_retried(store: Settings, messages: Messages) -> None:
    number = enqueue(store, messages, "retrain", OLD).job.id or 0
    with transaction(store) as session:
        session.get_one(Job, number).state = JobState.FAILED
    control.retry(store, messages, number)
    job = control.view(store, number).job
    assert job.state == JobState.QUEUED
    assert Retrain.model_validate(job.options).min_precision == 0.7


def test_an_old_schedule_runs(store: Settings, messages: Messages) -> None:
    add(store, "weekly", "0 3 * * 1", "retrain", OLD)
    assert run(store, messages, "weekly").job.options == check_request(store, "retrain", OLD)


def test_an_old_job_goes_on_from_what_its_first_stage_found() -> None:
    rows = {"path": "split.parquet", "sha256": "0" * 64, "rows": 10}
    written = {
        "recipe": Recipe(textualizer="mixed", textualizer_version="1").model_dump(mode="json"),
        "label_set": "spend3",
        "segments": ["low", "high"],
        "backbone": "tiny",
        "precision": 0.7,
        "also": {"lapse": {"segments": ["no", "yes"], "rows": rows}},
        "rows": rows,
    }
    request = PreparedTraining.read(written).request
    assert (request.min_precision, request.auxiliary_labels) == (0.7, ("lapse",))


@pytest.mark.parametrize("is_kept", [True, False], ids=["with what was asked", "from before that was kept"])
def test_an_old_key_belongs_to_the_same_request(store: Settings, messages: Messages, *, is_kept: bool) -> None:
    requested = {"backbone": "tabular", "precision": 0.7}
    number = enqueue(store, messages, "retrain", OLD, idempotency_key="week 31", asked=requested).job.id
    if not is_kept:
        with transaction(store) as session:
            session.get_one(Job, number).asked = None
    again = ask(store, messages, "retrain", {"backbone": "tabular", "min_precision": 0.7}, idempotency_key="week 31")
    assert (again.job.id, again.created) == (number, False)
