"""How far a job is: its stages weighed by what they took before, on rows of SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, select

from segadmin.jobs import control
from segadmin.jobs.attempt import Attempt
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.lease import claim, extend
from segadmin.jobs.progress import Progress
from segadmin.jobs.registry import workflow_of
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Job, JobState, Step, StepState
from segadmin.workflows.retrain import AFTER_GATE
from tests.unit.jobs.conftest import Messages

#: Seconds of each stage of a retrain; baselines and finetune run at the same time.
TOOK = {
    "prepare": 10,
    "textualize": 20,
    "baselines": 40,
    "finetune": 900,
    "evaluate": 30,
    "gate": 10,
    "score_challenger": 2,
    "score": 18,
    "publish": 8,
    "canary": 2,
    "monitor": 2,
    "segment_profiles": 2,
}
#: The longest path: all but the baselines, and one of the stages that follow a publication.
WHOLE = sum(TOOK.values()) - TOOK["baselines"] - TOOK["monitor"] - TOOK["segment_profiles"]


@pytest.fixture
def retrain(engine_settings: Settings, messages: Messages) -> Job:
    """A job that has just been asked for, and a finished one before it."""
    _finished(engine_settings, messages, "tiny", TOOK)
    return enqueue(engine_settings, messages, "retrain", {"backbone": "tiny"}).job


def test_a_waiting_job_has_no_progress(engine_settings: Settings, retrain: Job) -> None:
    assert _progress(engine_settings, retrain) == Progress(0.0, None)


def test_stages_are_weighted_by_their_earlier_durations(engine_settings: Settings, retrain: Job) -> None:
    _run(engine_settings, retrain, 30, {"prepare": 1, "textualize": 1})
    before = _progress(engine_settings, retrain)
    assert before.done == pytest.approx(30 / WHOLE)  # two stages of ten, and not 25 %
    _run(engine_settings, retrain, 480, {"baselines": 1, "finetune": 0.5})
    half = _progress(engine_settings, retrain)
    assert half.done == pytest.approx(480 / WHOLE)
    assert half.seconds_left == pytest.approx(520, rel=0.02)
    assert before.done < half.done


def test_parallel_steps_count_once(engine_settings: Settings, retrain: Job) -> None:
    _run(engine_settings, retrain, 70, {"prepare": 1, "textualize": 1, "baselines": 1, "finetune": 40 / 900})
    progress = _progress(engine_settings, retrain)
    assert progress.done == pytest.approx(70 / WHOLE)
    assert progress.seconds_left == pytest.approx(930, rel=0.05)


def test_the_time_left_follows_the_speed_of_this_job(engine_settings: Settings, retrain: Job) -> None:
    _run(engine_settings, retrain, 960, {"prepare": 1, "textualize": 1, "baselines": 1, "finetune": 0.5})
    assert _progress(engine_settings, retrain).seconds_left == pytest.approx(1040, rel=0.02)


def test_without_progress_the_time_left_is_that_of_earlier_jobs(engine_settings: Settings, retrain: Job) -> None:
    _run(engine_settings, retrain, 1, {"prepare": 0.1})
    assert _progress(engine_settings, retrain).seconds_left == pytest.approx(WHOLE - 1)


def test_jobs_of_another_backbone_or_kind_do_not_count(engine_settings: Settings, messages: Messages) -> None:
    _finished(engine_settings, messages, "linear", dict.fromkeys(TOOK, 10))
    job = enqueue(engine_settings, messages, "retrain", {"backbone": "tiny"}).job
    costs = {stage.name: stage.cost for stage in workflow_of("retrain").stages}
    _run(engine_settings, job, 1, {"prepare": 1})
    progress = _progress(engine_settings, job)
    for name in ("baselines", "monitor", "segment_profiles"):  # at the same time as others, which take longer
        del costs[name]
    assert progress.done == pytest.approx(costs["prepare"] / sum(costs.values()))
    assert progress.seconds_left is None  # too early, and nothing was measured


def test_by_default_the_fit_is_most_of_a_retrain(engine_settings: Settings, messages: Messages) -> None:
    job = enqueue(engine_settings, messages, "retrain", {"backbone": "tiny"}).job
    _run(engine_settings, job, 60, {"prepare": 1, "textualize": 1, "baselines": 1})
    assert _progress(engine_settings, job).done < 0.1
    _run(engine_settings, job, 600, {"finetune": 0.5})
    assert 0.4 < _progress(engine_settings, job).done < 0.6
    _run(engine_settings, job, 1200, {"finetune": 1})
    assert 0.7 < _progress(engine_settings, job).done < 0.9


def test_a_job_without_a_backbone_is_measured_too(engine_settings: Settings, messages: Messages) -> None:
    took = {name: TOOK[name] for name in AFTER_GATE} | {"prepare": 1, "textualize": 60, "publish": 7}
    _finished(engine_settings, messages, None, took, kind="score")
    job = enqueue(engine_settings, messages, "score", {}).job
    _run(engine_settings, job, 61, {"prepare": 1, "textualize": 1})
    assert _progress(engine_settings, job).done == pytest.approx(61 / 90)


def test_stages_that_are_skipped_count_nothing(engine_settings: Settings, retrain: Job) -> None:
    with transaction(engine_settings) as session:
        for step in _steps(session, retrain):
            if step.stage in AFTER_GATE:
                step.state = StepState.SKIPPED
    _run(engine_settings, retrain, 30, {"prepare": 1, "textualize": 1})
    assert _progress(engine_settings, retrain).done == pytest.approx(30 / (WHOLE - 30))


def test_after_a_retry_only_the_new_work_gives_the_speed(engine_settings: Settings, retrain: Job) -> None:
    _run(engine_settings, retrain, 5000, {"prepare": 1, "textualize": 1, "baselines": 1})
    with transaction(engine_settings) as session:
        moment = now(session)
        for step in _steps(session, retrain):
            if step.state == StepState.SUCCEEDED:
                step.finished_at = moment - timedelta(seconds=4000)
    _run(engine_settings, retrain, 450, {"finetune": 0.5})  # started again 450 s ago
    assert _progress(engine_settings, retrain).seconds_left == pytest.approx(520, rel=0.02)


def test_a_job_of_an_unknown_kind_counts_stage_by_stage(engine_settings: Settings, messages: Messages) -> None:
    job = enqueue(engine_settings, messages, "probe", {}).job
    with transaction(engine_settings) as session:
        session.merge(job.model_copy(update={"kind": "of another version"}))
    _run(engine_settings, job, 10, {"prepare": 1})
    assert _progress(engine_settings, job).done == pytest.approx(1 / 3)


def _progress(settings: Settings, job: Job) -> Progress:
    return control.view(settings, job.id or 0).progress


def _steps(session: Session, job: Job) -> Sequence[Step]:
    return session.exec(select(Step).where(Step.job_id == job.id)).all()


def _run(settings: Settings, job: Job, seconds: float, done: Mapping[str, float]) -> None:
    """Write into SQL what workers would have, were ``done`` of the stages done ``seconds`` after the start."""
    with transaction(settings) as session:
        moment = now(session)
        row = session.get_one(Job, job.id)
        row.state, row.started_at = JobState.RUNNING, moment - timedelta(seconds=seconds)
        session.add(row)
        for step in _steps(session, job):
            if step.stage in done:
                step.progress = done[step.stage]
                step.state = StepState.SUCCEEDED if step.progress == 1 else StepState.RUNNING
                step.finished_at = moment if step.progress == 1 else None


def _finished(
    settings: Settings, messages: Messages, backbone: str | None, took: Mapping[str, float], kind: str = "retrain"
) -> None:
    """Save a job that succeeded, whose stages took so many seconds."""
    job = enqueue(settings, messages, kind, {"backbone": backbone} if backbone else {}).job
    with transaction(settings) as session:
        moment: datetime = now(session) - timedelta(hours=1)
        row = session.get_one(Job, job.id)
        row.state, row.started_at, row.finished_at = JobState.SUCCEEDED, moment, moment
        session.add(row)
        for step in _steps(session, job):
            step.state, step.started_at = StepState.SUCCEEDED, moment
            step.finished_at = moment + timedelta(seconds=took[step.stage])


def test_the_percentage_never_decreases(engine_settings: Settings, messages: Messages) -> None:
    """Stages one by one, the fit tried again, and what the gate leaves out: measured before, and by the plan alone."""
    _finished(engine_settings, messages, "tiny", TOOK)
    for backbone in ("tiny", "of which nothing is known"):
        job = enqueue(engine_settings, messages, "retrain", {"backbone": backbone}).job
        seen = [_progress(engine_settings, job).done]
        for stage in ("prepare", "textualize", "baselines", "finetune", "evaluate", "gate"):
            for attempt in _attempts(engine_settings, job, stage, 2 if stage == "finetune" else 1):
                for fraction in (0.0, 0.4, 0.2, 0.8):
                    attempt.progress(fraction)
                    extend(attempt)
                    seen.append(_progress(engine_settings, job).done)
            skipped = AFTER_GATE if stage == "gate" else ()
            _succeed(engine_settings, job, stage, skipped)
            seen.append(_progress(engine_settings, job).done)
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (0.0, pytest.approx(1.0))


def test_a_manual_retry_resets_the_progress(engine_settings: Settings, retrain: Job, messages: Messages) -> None:
    [attempt] = _attempts(engine_settings, retrain, "prepare", 1)
    attempt.progress(0.5)
    extend(attempt)
    assert _progress(engine_settings, retrain).done == pytest.approx(5 / WHOLE)
    control.cancel(engine_settings, messages, retrain.id or 0)
    control.retry(engine_settings, messages, retrain.id or 0)
    assert _progress(engine_settings, retrain).done == 0.0


def _attempts(settings: Settings, job: Job, stage: str, number: int) -> Iterator[Attempt]:
    """Yield so many attempts at each step of ``stage``, all but the last of which lose their lease."""
    with transaction(settings) as session:
        steps = [step.id for step in _steps(session, job) if step.stage == stage]
    for step_id in steps:
        for _ in range(number):
            with transaction(settings) as session:
                step = session.get_one(Step, step_id)
                step.state, step.lease_until = StepState.RUNNING, now(session) - timedelta(seconds=1)
            attempt = claim(settings, step_id or 0, "worker")
            assert attempt is not None
            yield attempt


def _succeed(settings: Settings, job: Job, stage: str, skipped: Sequence[str]) -> None:
    """Write into SQL that a stage is done, and that others are not needed."""
    with transaction(settings) as session:
        for step in _steps(session, job):
            if step.stage == stage:
                step.state, step.progress, step.finished_at = StepState.SUCCEEDED, 1.0, now(session)
            elif step.stage in skipped:
                step.state = StepState.SKIPPED
