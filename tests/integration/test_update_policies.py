"""Refreshes that follow up: a trigger fires, a job updates or retrains the champion, and the gate decides."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlmodel import col, select, update

from segadmin.errors import ConfigurationError, DataError
from segadmin.jobs import control, due_slots, schedules
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.jobs.run import run_step
from segadmin.models.aliases import champion, pointed
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import now, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Current, Job, JobState, LabelSet, ModelVersion, Schedule, Step
from tests.conftest import Cli
from tests.planted import LABELS, Run, more_weeks, planted_users, retrain

TINY = {"max_tokens": 24, "epochs": 1, "batch_size": 32, "words": 300, "width": 64, "head_steps": 20}
UPDATE = {"policy": "update", "max_age_days": "3w"}
RETRAIN = {"policy": "retrain", "max_age_days": "3w"}


class Engine:
    """Runs the steps of jobs in this process, and remembers the messages that nobody has acted on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.waiting: list[StepMessage] = []

    def dispatch(self, messages: Sequence[StepMessage]) -> None:
        """Take the messages."""
        self.waiting.extend(messages)

    def enqueue(self, kind: str, **options: Any) -> int:
        """Enqueue a job as the command does, and return its number."""
        job = enqueue(self.settings, self.dispatch, kind, check_request(self.settings, kind, options)).job
        assert job.id is not None
        return job.id

    def run(self, job_id: int | None = None) -> None:
        """Run every step that there is a message for; with ``job_id``, only steps of this job."""
        while chosen := [each for each in self.waiting if job_id is None or f"job {job_id} ·" in each.label]:
            self.waiting.remove(chosen[-1])
            run_step(self.settings, self.dispatch, chosen[-1].step_id, "me")

    def refresh(self, **options: Any) -> dict[str, Any]:
        """Run a refresh, and nothing that it enqueues; return what its last stage found out."""
        job_id = self.enqueue("refresh", labels=LABELS, **options)
        self.run(job_id)
        return self.follow_up(job_id)

    def follow_up(self, job_id: int) -> dict[str, Any]:
        """Return what the last stage of a refresh found out."""
        view = control.view(self.settings, job_id)
        assert view.job.state == JobState.SUCCEEDED, view.job.error
        return view.steps[-1].result


@pytest.fixture(scope="module")
def old_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with a language model as its champion (version 2), four weeks later: made once."""
    home = tmp_path_factory.mktemp("old") / "home"
    shutil.copytree(trained_home, home)
    settings = Settings(home=home)
    retrain(settings, backbone="tiny", backbone_options=TINY, margin=-1, baselines=[]).all()
    more_weeks(settings, planted_users(settings), range(14, 18))
    database.engine(ended(settings)).dispose()  # the database is one file again
    return home


@pytest.fixture
def old_shop(settings: Settings, old_home: Path) -> Iterator[Settings]:
    """Settings of a copy of that shop."""
    shutil.copytree(old_home, settings.root)
    yield settings
    database.engine(settings).dispose()


def ended(settings: Settings) -> Settings:
    """Say that jobs are over whose stages were run without the engine."""
    with transaction(settings) as session:
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    return settings


def retrains(settings: Settings) -> list[Job]:
    with transaction(settings) as session:
        own = select(Job).where(col(Job.idempotency_key).startswith("follow-up:")).order_by(col(Job.id))
        return list(session.exec(own).all())


def champion_of(settings: Settings) -> ModelVersion:
    with transaction(settings) as session:
        return session.get_one(ModelVersion, pointed(session, champion(LABELS)))


def test_an_old_champion_is_updated_on_what_is_new_and_the_gate_decides(old_shop: Settings, cli: Cli) -> None:
    engine = Engine(old_shop)
    result = engine.refresh(**UPDATE)
    [job] = retrains(old_shop)
    assert result["job_id"] == job.id
    assert result["reason"].startswith("the champion is 28 d old, trained with events until 2025-04-1")
    assert job.options["reason"] == f"update: {result['reason']}"
    assert job.options["start_from"] == "2"
    assert job.options["backbone_options"] == TINY
    engine.run()
    view = control.view(old_shop, job.id or 0)
    assert view.job.state == JobState.SUCCEEDED, view.job.error
    results = {step.stage: step.result for step in view.steps}
    assert results["prepare"]["update"] is True
    parts = results["prepare"]["data"]["parts"]
    assert parts["learnt"] > 0
    made = champion_of(old_shop)
    assert made.id == results["gate"]["model_version_id"]
    assert made.manifest["started_from"] == 2
    assert {"start_log_loss", "kept_start"} <= made.manifest["report"].keys()
    # An erasure must name it for every user whom the version before it knew.
    trainings = Lake.of(old_shop).scan("trainings").collect()
    users = {of: set(trainings.filter(pl.col("job_id") == of)["user_key"]) for of in trainings["job_id"].unique()}
    with transaction(old_shop) as session:
        before = users[session.get_one(ModelVersion, 2).job_id]
    assert before <= users[job.id or 0]
    shown = cli("jobs", "show", str(job.id)).stdout
    assert "reason: update: the champion is 28 d old" in shown
    refresh = control.list_jobs(old_shop)[1].job
    assert f"Job {job.id} (update) was enqueued." in cli("jobs", "show", str(refresh.id)).stdout
    # The new champion is as young as its events.
    assert "no trigger fired: the champion is 0 d old" in engine.refresh(**UPDATE)["note"]


def test_labels_of_later_weeks_are_derived_by_the_same_definition(old_shop: Settings) -> None:
    with transaction(old_shop) as session:
        before = session.get_one(LabelSet, LABELS)
    labels = Lake.of(old_shop).scan("labels", label_set=LABELS).collect()
    engine = Engine(old_shop)
    engine.refresh(**UPDATE)
    engine.run()
    with transaction(old_shop) as session:
        after = session.get_one(LabelSet, LABELS)
    assert after.definition["thresholds"] == before.definition["thresholds"]
    extended = Lake.of(old_shop).scan("labels", label_set=LABELS).collect()
    assert extended.join(labels, on=labels.columns, how="semi", nulls_equal=True).height == labels.height
    assert (extended["as_of"].max() - labels["as_of"].max()).days == 14  # type: ignore[operator]
    assert after.definition["test_cuts"] == [extended["as_of"].max().isoformat()]  # type: ignore[union-attr]
    assert after.rows == extended.height


def test_a_retrain_begins_anew_on_all_rows(old_shop: Settings) -> None:
    engine = Engine(old_shop)
    engine.refresh(**RETRAIN)
    [job] = retrains(old_shop)
    assert (job.options["start_from"], job.options["backbone"]) == (None, "tiny")
    assert job.options["reason"].startswith("retrain: the champion is 28 d old")
    engine.run(job.id)
    data = control.view(old_shop, job.id or 0).steps[0].result
    assert (data["parent"], data["update"]) == (None, False)
    assert "learnt" not in data["data"]["parts"]


def test_a_retrain_of_a_model_that_began_as_a_pretrained_one_begins_so_too(shop: Settings) -> None:
    options = {"backbone": "tiny", "backbone_options": TINY, "window_days": 28}
    pretrained = Run(shop, "pretrain", check_request(shop, "pretrain", options)).all().inputs["pretrain"][0]
    number = str(pretrained["model_version_id"])
    request = {"start_from": number, "margin": -1, "baselines": [], "labels": LABELS}
    Run(shop, "retrain", check_request(shop, "retrain", request)).all()
    more_weeks(shop, planted_users(shop), range(14, 18))
    engine = Engine(ended(shop))
    engine.refresh(**UPDATE)
    engine.run()
    updated = champion_of(shop)
    assert updated.manifest["started_from"] == int(number) + 1
    more_weeks(shop, planted_users(shop), range(18, 22), seed=2)
    engine.refresh(**RETRAIN)
    assert retrains(shop)[-1].options["start_from"] == number


def test_what_the_gate_refused_is_not_tried_again_until_there_are_newer_labels(old_shop: Settings) -> None:
    with transaction(old_shop) as session:  # a bar that nothing reaches
        job = session.get_one(Job, session.get_one(ModelVersion, 2).job_id)
        job.options = {**job.options, "margin": 1.0, "baselines": ["tabular"]}
        session.add(job)
    engine = Engine(old_shop)
    first = engine.refresh(**UPDATE)["job_id"]
    engine.run()
    assert champion_of(old_shop).id == 2
    note = engine.refresh(**UPDATE)["note"]
    assert note == f"job {first} was enqueued for the same champion and labels, and is succeeded"
    more_weeks(old_shop, planted_users(old_shop), range(18, 20), seed=2)
    second = engine.refresh(**UPDATE)["job_id"]
    assert second not in {None, first}
    assert [job.id for job in retrains(old_shop)] == [first, second]


def test_nothing_is_enqueued_while_a_model_is_trained_already(old_shop: Settings) -> None:
    engine = Engine(old_shop)
    other = engine.enqueue("retrain", labels=LABELS, backbone="tabular", baselines=[])
    result = engine.refresh(**UPDATE)
    assert result["note"] == f"job {other} trains a model of 'spend3' already"
    assert result["job_id"] is None
    assert not retrains(old_shop)


def test_a_failed_job_is_named_with_the_command_that_tries_it_again(old_shop: Settings) -> None:
    engine = Engine(old_shop)
    first = engine.refresh(**UPDATE)["job_id"]
    control.cancel(old_shop, engine.dispatch, first)
    assert engine.refresh(**UPDATE)["note"].endswith(f"is cancelled. Try again: segadmin jobs retry {first}")


@pytest.mark.parametrize("failpoint", ["saved:enospc", "commit@follow_up:enospc"])
def test_a_stage_that_fails_before_its_commit_enqueues_one_job_all_the_same(
    old_shop: Settings, failpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(old_shop)
    refresh = engine.enqueue("refresh", labels=LABELS, **UPDATE)
    monkeypatch.setenv("SEGADMIN_FAILPOINT", failpoint)
    engine.run(refresh)
    assert not retrains(old_shop)
    assert "No space left" in (control.view(old_shop, refresh).steps[-1].error or "")
    monkeypatch.delenv("SEGADMIN_FAILPOINT")
    run_again(engine, refresh)
    assert [job.id for job in retrains(old_shop)] == [engine.follow_up(refresh)["job_id"]]
    # Again from its start, it finds that job.
    with transaction(old_shop) as session:
        session.exec(update(Job).where(col(Job.id) == refresh).values(state=JobState.FAILED))
    control.retry(old_shop, engine.dispatch, refresh, from_start=True)
    engine.run(refresh)
    assert "was enqueued for the same champion and labels" in engine.follow_up(refresh)["note"]
    assert len(retrains(old_shop)) == 1


def run_again(engine: Engine, job_id: int) -> None:
    """Run the step that waits for its next attempt."""
    with transaction(engine.settings) as session:
        due = update(Step).where(col(Step.job_id) == job_id, col(Step.state) == "ready")
        session.exec(due.values(not_before=None))
        steps = session.exec(select(Step.id).where(Step.job_id == job_id, Step.state == "ready")).all()
    for step in steps:
        run_step(engine.settings, engine.dispatch, step or 0, "me")


def test_labels_that_were_imported_are_not_learnt_twice(old_shop: Settings) -> None:
    with transaction(old_shop) as session:
        label_set = session.get_one(LabelSet, LABELS)
        label_set.labeler = "table"  # as `data import labels` says
        session.add(label_set)
    engine = Engine(old_shop)
    result = engine.refresh(**UPDATE)
    assert "no later ones can be derived from events" in result["note"]
    assert "segadmin data import labels FILE --name spend3" in result["note"]
    assert not retrains(old_shop)
    lake = Lake.of(old_shop)
    labels = lake.scan("labels", label_set=LABELS).collect()
    later = labels.filter(pl.col("as_of") == pl.col("as_of").max())
    moved = [(pl.col(name) + timedelta(weeks=2)).alias(name) for name in ("observed_from", "as_of", "outcome_until")]
    lake.append("labels", later.with_columns(*moved))
    with transaction(old_shop) as session:
        label_set = session.get_one(LabelSet, LABELS)
        label_set.definition = {"file": "labels.csv"}
        session.add(label_set)
    assert engine.refresh(**UPDATE)["job_id"] is not None


def test_without_later_weeks_nothing_is_trained(shop: Settings) -> None:
    retrain(shop, backbone="tiny", backbone_options=TINY, margin=-1, baselines=[]).all()
    engine = Engine(ended(shop))
    more_weeks(shop, planted_users(shop), range(14, 15))
    result = engine.refresh(policy="update", max_age_days=1)
    assert result["note"] == (
        "the champion knows all labels of 'spend3'; later ones are known when their weeks are over"
    )
    assert not retrains(shop)


def test_a_refresh_that_only_scores_leaves_the_stage_out(old_shop: Settings) -> None:
    engine = Engine(old_shop)
    job_id = engine.enqueue("refresh", labels=LABELS)
    engine.run(job_id)
    step = control.view(old_shop, job_id).steps[-1]
    assert (step.stage, step.state) == ("follow_up", "skipped")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "update"}, r"--policy update needs a trigger. Add one or more of --max-age 30d, --on-drift and"),
        ({"on_drift": True}, r"--on-drift would trigger nothing. Add --policy update or --policy retrain, or leave it"),
        ({"max_age_days": "30d", "max_loss": 0.02}, r"--max-age and --max-loss would trigger nothing.*leave them out"),
        ({"policy": "retrain", "on_drift": True, "model": "1"}, r"follows the champion.*version 1. Leave out --model"),
        ({"policy": "update", "max_age_days": "soon"}, r"'soon' is no length of time; write it as 400d"),
        ({"policy": "update", "max_age_days": "0d"}, r"cannot use max_age_days='0d' \(--max-age\): Input should be gr"),
        ({"policy": "update", "max_age_days": "inf"}, r"max_age_days='inf' \(--max-age\).*less than or equal to 36500"),
        ({"policy": "update", "max_age_days": 1e9}, r"less than or equal to 36500"),
        ({"policy": "update", "max_loss": 2}, r"cannot use max_loss=2"),
    ],
)
def test_options_that_do_not_fit_together(old_shop: Settings, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_request(old_shop, "refresh", {"labels": LABELS, **options})


def test_a_champion_that_cannot_be_trained_further_can_be_retrained(shop: Settings, cli: Cli) -> None:
    refused = cli("enqueue", "refresh", "--policy", "update", "--max-age", "3w", check=False)
    assert refused.returncode == 1
    assert "is of 'tabular', which cannot be trained further" in refused.stderr
    assert "Use --policy retrain" in refused.stderr
    more_weeks(shop, planted_users(shop), range(14, 18))
    engine = Engine(ended(shop))
    job_id = engine.refresh(**RETRAIN)["job_id"]
    engine.run()
    assert control.view(shop, job_id).job.state == JobState.SUCCEEDED
    assert champion_of(shop).id == 2


def due(settings: Settings, name: str) -> None:
    with transaction(settings) as session:
        passed = {"next_slot": now(session) - timedelta(seconds=1)}
        session.exec(update(Schedule).where(col(Schedule.name) == name).values(**passed))


def test_a_schedule_follows_its_champion(old_shop: Settings, cli: Cli) -> None:
    words = "schedule add nightly refresh --labels spend3 --policy update --max-age 3w --on-drift --max-loss 0.02"
    added = cli(*words.split(), "--cron", "0 3 * * *")
    assert added.returncode == 0, added.stderr
    assert "policy: update" in cli("schedule", "show", "nightly").stdout
    engine = Engine(old_shop)
    due(old_shop, "nightly")
    [job] = due_slots.tick(old_shop, engine.dispatch)
    engine.run()
    [made] = retrains(old_shop)
    assert engine.follow_up(job.id or 0)["job_id"] == made.id
    assert champion_of(old_shop).job_id == made.id


def test_a_champion_that_is_gone_under_a_schedule(old_shop: Settings, cli: Cli) -> None:
    schedules.add(old_shop, "nightly", "0 3 * * *", "refresh", {"labels": LABELS, **UPDATE, "max_age_days": 21})
    engine = Engine(old_shop)
    shutil.rmtree(old_shop.store_path / champion_of(old_shop).folder)
    due(old_shop, "nightly")
    [job] = due_slots.tick(old_shop, engine.dispatch)
    engine.run()
    for _ in range(2):  # a store that is not mounted may be back at the next attempt
        run_again(engine, job.id or 0)
    failed = control.view(old_shop, job.id or 0).job
    assert failed.state == JobState.FAILED
    assert "is gone" in (failed.error or "")
    with transaction(old_shop) as session:
        session.delete(session.get_one(Current, champion(LABELS)))
    due(old_shop, "nightly")
    [job] = due_slots.tick(old_shop, engine.dispatch)
    assert job.state == JobState.FAILED
    assert "There is no champion model yet. Train one: segadmin enqueue retrain" in (job.error or "")
    with pytest.raises(DataError, match="no champion model yet"):
        check_request(old_shop, "refresh", {"labels": LABELS, **UPDATE})
