"""What is printed of a job where there is no terminal, at made-up times."""

from __future__ import annotations

from datetime import timedelta

import pytest

from segadmin.errors import ServerUnavailable
from segadmin.jobs.control import JobView
from segadmin.jobs.progress import Progress
from segadmin.settings import Settings
from segadmin.storage.records import Job, JobState, Step, StepState, utcnow
from segadmin_api.cli.watch import _LINE_SECONDS, Lines, watch


def test_a_line_comes_at_least_every_half_minute() -> None:
    lines, printed = Lines(_LINE_SECONDS), []
    for moment in range(0, 600):  # looked at every second, of which each brings a thousandth
        printed += [(moment, line) for line in lines.of(_job(moment / 1000), moment)]
    assert printed[0] == (0, "job 7: finetune running · 0% done · about 3 min left")
    moments = [moment for moment, _ in printed]
    assert max(later - moment for moment, later in zip(moments, [*moments[1:], 600], strict=True)) <= 30
    assert dict(printed)[100] == "job 7: 10% done · 6 % a minute · about 3 min left · finetune 10% (epoch 1 of 3)"


def test_stages_that_begin_do_not_put_off_the_line_with_the_percentage() -> None:
    lines = Lines(every=20)
    lines.of(_job(0.1), 0)
    assert "baselines running" in " ".join(lines.of(_job(0.2, stage="baselines"), 19))
    assert "20% done" in lines.of(_job(0.2, stage="baselines"), 20)[0]


def test_the_speed_is_that_of_the_step_where_it_says_so() -> None:
    lines = Lines(every=20)
    lines.of(_job(0.1), 0)
    [line] = lines.of(_job(0.2, note="epoch 2 of 3, 120 users/s"), 20)
    assert line == "job 7: 20% done · about 3 min left · finetune 20% (epoch 2 of 3, 120 users/s)"


def test_slow_and_standing_jobs_and_those_without_an_estimate() -> None:
    lines = Lines(every=20)
    lines.of(_job(0.1), 0)
    assert "0.15 % a minute" in lines.of(_job(0.1005), 20)[0]
    assert "· 0 % a minute · time left not known yet ·" in lines.of(_job(0.1005, left=None), 40)[0]


def test_a_job_that_is_over_has_no_percentage() -> None:
    lines = Lines(every=20)
    lines.of(_job(0.9), 0)
    over = _job(1.0, state=JobState.FAILED)
    assert lines.of(over, 100) == []


def test_a_server_that_goes_away_leaves_a_job_that_goes_on() -> None:
    looks = iter([_job(0.1)])

    def look(job: int) -> JobView:
        try:
            return next(looks)
        except StopIteration:
            raise ServerUnavailable("https://shop.example does not answer.") from None

    with pytest.raises(
        ServerUnavailable, match=r"does not answer\. Job 7 .* goes on there\. .*: segadmin jobs watch 7$"
    ):
        watch(look, 7)


def test_a_job_whose_step_nobody_takes_says_which_worker_is_missing_once() -> None:
    lines, view = Lines(every=20), _job(0.0)
    [step] = view.steps
    step.state, view.job.created_at = StepState.READY, utcnow() - timedelta(seconds=9)
    [hint] = lines.of(view, 0)
    assert "No worker of the queue 'gpu' has taken the step 'finetune' yet" in hint
    assert hint.endswith("segadmin worker --queues gpu")
    assert lines.of(view, 1) == []
    for known in ({"rung_at": utcnow()}, {"not_before": utcnow() + timedelta(seconds=9)}):
        step.rung_at, step.not_before = known.get("rung_at"), known.get("not_before")
        assert Lines(every=20).of(view, 0) == [], known


def test_the_commands_for_a_missing_worker_of_a_server_are_for_that_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(server="https://shop.example")
    monkeypatch.setattr("segadmin.settings.get_settings", lambda: settings)
    view = _job(0.0)
    view.steps[0].state, view.job.created_at = StepState.READY, utcnow() - timedelta(seconds=9)
    [hint] = Lines(every=20).of(view, 0)
    assert "Is one running? On the server: segadmin status" in hint


def _job(
    done: float,
    *,
    stage: str = "finetune",
    note: str = "epoch 1 of 3",
    left: float | None = 180.0,
    state: JobState = JobState.RUNNING,
) -> JobView:
    step = Step(job_id=7, stage=stage, queue="gpu", state=StepState.RUNNING, progress=done, note=note)
    return JobView(Job(id=7, kind="retrain", state=state), Progress(done, left), None, [step])
