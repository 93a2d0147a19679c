"""The engine, step by step: the test plays the workers, SQL is real."""

from __future__ import annotations

import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlmodel import Session, col, update

from segadmin.errors import (
    BrokerUnavailable,
    DataError,
    InvalidTransition,
    JobNotFound,
    KeyReused,
    OutOfMemory,
    StepFenced,
)
from segadmin.jobs import control
from segadmin.jobs.advance import end_job
from segadmin.jobs.attempt import Attempt, Json, StageResult
from segadmin.jobs.enqueue import Enqueued, enqueue
from segadmin.jobs.finish import fail, finish, release
from segadmin.jobs.lease import claim, extend
from segadmin.jobs.reap import lost_process, reap
from segadmin.jobs.registry import Request, Stage, Workflow, bucket_ranges, stage_names, workflows
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import engine, now, transaction
from segadmin.storage.records import Job, JobState, Step, StepState
from tests.probe import Facts
from tests.unit.jobs.conftest import Messages


def drain(settings: Settings, messages: Messages, job_id: int) -> Job:
    """Be the workers until nothing rings any more."""
    while dispatched := messages.take():
        for step_id in dispatched:
            run_step(settings, messages, step_id, "me")
    return control.view(settings, job_id).job


def ask(settings: Settings, messages: Messages, **options: object) -> Enqueued:
    return enqueue(settings, messages, "probe", dict(options))


def step_of(settings: Settings, job_id: int, stage: str) -> Step:
    return next(step for step in control.view(settings, job_id).steps if step.stage == stage)


def test_a_job_runs_to_its_end(engine_settings: Settings, messages: Messages) -> None:
    done = ask(engine_settings, messages)
    assert [message.label for message in messages.dispatched] == [f"job {done.job.id} · probe"]
    job = drain(engine_settings, messages, done.job.id or 0)
    assert job.state == JobState.SUCCEEDED
    assert step_of(engine_settings, job.id or 0, "publish").result["sum"] == sum(range(8))
    assert {step.attempt for step in control.view(engine_settings, job.id or 0).steps} == {1}


def nothing(_: Attempt) -> StageResult:
    return StageResult()


def test_a_small_job_needs_few_sql_statements(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand small jobs each statement is paid for a thousand times, and on PostgreSQL by a round trip."""
    monkeypatch.setitem(workflows(), "nothing", Workflow("nothing", Request, (Stage("prepare", nothing),)))
    patient = engine_settings.model_copy(update={"heartbeat_seconds": 600.0, "lease_seconds": 1200.0})
    jobs = [enqueue(patient, messages, "nothing", {}).job for _ in range(3)]
    first, second, third = messages.take()
    for step_id in (first, second):  # which look at the store, as a process does once
        run_step(patient, messages, step_id, "me")
    verbs: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN") and "clock_timestamp" not in statement:
            verbs.append(statement.partition(" ")[0])

    event.listen(engine(patient), "before_cursor_execute", note)
    run_step(patient, messages, third, "me")
    event.remove(engine(patient), "before_cursor_execute", note)
    assert verbs == ["SELECT", "UPDATE", "UPDATE", "SELECT", "UPDATE", "SELECT", "UPDATE"], (
        "three to begin, four to end"
    )
    assert control.view(patient, jobs[2].id or 0).job.state == JobState.SUCCEEDED


def test_a_step_is_claimed_once_however_many_try(engine_settings: Settings, messages: Messages) -> None:
    ask(engine_settings, messages)
    [step_id] = messages.take()
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: claim(engine_settings, step_id, f"worker {n}"), range(8)))
    assert len([attempt for attempt in claims if attempt is not None]) == 1


def test_a_late_attempt_is_fenced(engine_settings: Settings, messages: Messages) -> None:
    """A worker that was thought dead comes back after its step was done by another: it changes nothing."""
    ask(engine_settings, messages)
    [step_id] = messages.take()
    late = claim(engine_settings, step_id, "late")
    assert late is not None
    time.sleep(0.7)  # its lease of 0.6 s runs out
    other = claim(engine_settings, step_id, "other")
    assert other is not None
    assert (other.number, other.token) == (late.number + 1, late.token + 1)
    ran = []

    def commit(_: Session) -> Json:
        ran.append("late")
        return {}

    assert extend(late) is False
    for write in (
        lambda: finish(late, StageResult(Facts(by="late"), commit=commit)),
        lambda: fail(late, RuntimeError("late")),
        lambda: release(late, "late"),
    ):
        with pytest.raises(StepFenced):
            write()
    finish(other, StageResult(Facts(by="other")))
    with pytest.raises(StepFenced):
        finish(late, StageResult(Facts(by="late"), commit=commit))
    assert ran == []
    assert step_of(engine_settings, other.job_id, "prepare").result["by"] == "other"


def test_the_sql_of_a_stage_is_committed_only_with_the_finish(engine_settings: Settings, messages: Messages) -> None:
    ask(engine_settings, messages)
    attempt = claim(engine_settings, messages.take()[0], "me")
    assert attempt is not None

    def commit(session: Session) -> Json:
        session.add(Job(kind="written by commit"))
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError, match="killed here"):
        finish(attempt, StageResult({}, commit=commit))
    assert [view.job.kind for view in control.list_jobs(engine_settings)] == ["probe"]
    assert step_of(engine_settings, attempt.job_id, "prepare").state == StepState.RUNNING


def test_a_failed_step_is_tried_again_then_the_job_fails_with_the_reason(
    engine_settings: Settings, messages: Messages
) -> None:
    job = ask(engine_settings, messages, failures=2).job
    assert job.id
    run_step(engine_settings, messages, messages.take()[0], "me")
    assert step_of(engine_settings, job.id, "prepare").state == StepState.READY
    work = engine_settings.store_path / "work" / f"job-{job.id}"
    assert [path.name for path in work.glob("prepare-*/checkpoints/*")] == ["attempt-1"]  # kept for the next attempt
    reap(engine_settings, messages)  # what waits for another attempt is rung for by reaping
    run_step(engine_settings, messages, messages.take()[0], "me")
    reap(engine_settings, messages)
    assert drain(engine_settings, messages, job.id).state == JobState.SUCCEEDED
    assert list(work.glob("*/checkpoints")) == []

    job = ask(engine_settings, messages, failures=99).job
    assert job.id
    for _ in range(3):
        run_step(engine_settings, messages, messages.take()[0], "me")
        reap(engine_settings, messages)
    job = control.view(engine_settings, job.id).job
    assert (job.state, job.error) == (JobState.FAILED, "prepare: RuntimeError: failure 3")
    assert {step.state for step in control.view(engine_settings, job.id or 0).steps} == {
        StepState.FAILED,
        StepState.CANCELLED,
    }


def test_the_wait_before_the_next_attempt_is_kept(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = engine_settings.model_copy(update={"backoff_seconds": 60.0})
    ask(settings, messages, failures=1)
    [step_id] = messages.take()
    run_step(settings, messages, step_id, "me")
    assert reap(settings, messages).dispatched == 0
    assert claim(settings, step_id, "impatient") is None


def test_permanent_errors_are_not_tried_again(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ask(engine_settings, messages).job
    attempt = claim(engine_settings, messages.take()[0], "me")
    assert attempt is not None
    fail(attempt, DataError("no labels. Import some"))
    job = control.view(engine_settings, job.id or 0).job
    assert (job.state, job.error) == (JobState.FAILED, "prepare: no labels. Import some")


def test_a_step_that_ran_out_of_memory_is_tried_again_after_a_longer_wait(
    engine_settings: Settings, messages: Messages
) -> None:
    settings = engine_settings.model_copy(update={"backoff_seconds": 5.0})
    job = ask(settings, messages).job
    attempt = claim(settings, messages.take()[0], "me")
    assert attempt is not None
    with transaction(settings) as session:
        before = now(session)
    fail(attempt, OutOfMemory("GPU 0 (NVIDIA H100, 0.2 of 79.1 GiB free): process 4242 (python) 78.0 GiB."))
    step = step_of(settings, job.id or 0, "prepare")
    assert (step.state, step.attempt) == (StepState.READY, 1)
    assert "process 4242 (python) 78.0 GiB" in (step.error or "")
    assert step.not_before is not None
    assert (step.not_before - before).total_seconds() >= 59


def test_reaping_gives_expired_steps_back_and_ends_jobs_without_attempts(
    engine_settings: Settings, messages: Messages
) -> None:
    job = ask(engine_settings, messages).job
    assert job.id
    for attempt in (1, 2, 3):
        assert claim(engine_settings, messages.take()[0], "dying") is not None
        time.sleep(0.7)
        reaped = reap(engine_settings, messages)
        assert (reaped.expired, reaped.failed) == (1, int(attempt == 3))
    ended = control.view(engine_settings, job.id).job
    assert ended.state == JobState.FAILED
    assert ended.error is not None
    assert "the worker dying stopped answering (attempt 3 of 3)" in ended.error


def test_a_step_that_was_lost_before_the_clock_was_set_back_is_given_back(
    engine_settings: Settings, messages: Messages
) -> None:
    job_id = ask(engine_settings, messages).job.id or 0
    attempt = claim(engine_settings, messages.take()[0], "dying")
    assert attempt is not None
    ahead = timedelta(days=365)
    with transaction(engine_settings) as session:  # the clock was a year ahead
        step = session.get_one(Step, attempt.step_id)
        assert step.started_at is not None
        step.started_at, step.lease_until = step.started_at + ahead, step.started_at + ahead + timedelta(seconds=1)
    assert claim(engine_settings, attempt.step_id, "second") is not None
    with transaction(engine_settings) as session:  # while its worker is alive, the lease follows the clock
        step = session.get_one(Step, attempt.step_id)
        assert step.started_at is not None
        step.started_at, step.lease_until = step.started_at + ahead, step.started_at + timedelta(hours=1)
    assert reap(engine_settings, messages).expired == 0
    assert step_of(engine_settings, job_id, "prepare").attempt == 2


@pytest.mark.parametrize("began_in_future", [True, False])
def test_a_step_that_failed_before_the_clock_was_set_back_is_tried_again(
    engine_settings: Settings, messages: Messages, began_in_future: bool
) -> None:
    job_id = ask(engine_settings, messages).job.id or 0
    attempt = claim(engine_settings, messages.take()[0], "me")
    assert attempt is not None
    fail(attempt, ValueError("no luck"))
    ahead = timedelta(days=365)
    with transaction(engine_settings) as session:
        step = session.get_one(Step, attempt.step_id)
        assert step.started_at is not None
        assert step.not_before is not None
        step.not_before += ahead
        if began_in_future:
            step.started_at += ahead
    reap(engine_settings, messages)
    assert messages.take() == [attempt.step_id]
    assert claim(engine_settings, attempt.step_id, "second") is not None
    assert step_of(engine_settings, job_id, "prepare").attempt == 2


def test_a_job_for_a_later_time_waits_unless_it_was_saved_while_the_clock_was_ahead(
    engine_settings: Settings, messages: Messages
) -> None:
    with transaction(engine_settings) as session:
        later = now(session) + timedelta(days=2)
    job = enqueue(engine_settings, messages, "probe", {}, not_before=later).job
    reap(engine_settings, messages)
    assert messages.take() == []
    with transaction(engine_settings) as session:
        session.get_one(Job, job.id).created_at += timedelta(days=1)
    reap(engine_settings, messages)
    assert len(messages.take()) == 1


def test_a_job_is_saved_at_the_time_of_the_database(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a machine whose clock is ahead would look as if the clock had been set back since."""
    with transaction(engine_settings) as session:
        moment = now(session) - timedelta(hours=3)
    monkeypatch.setattr("segadmin.jobs.enqueue.now", lambda _: moment)
    assert ask(engine_settings, messages).job.created_at == moment


def test_waits_between_many_attempts_have_a_limit(engine_settings: Settings, messages: Messages) -> None:
    settings = engine_settings.model_copy(update={"backoff_seconds": 5.0, "max_attempts": 1000})
    job = ask(settings, messages).job
    with transaction(settings) as session:
        session.exec(update(Step).where(col(Step.job_id) == job.id).values(attempt=900))
        before = now(session)
    attempt = claim(settings, messages.take()[0], "me")
    assert attempt is not None
    fail(attempt, ValueError("no luck"))
    step = step_of(settings, job.id or 0, "prepare")
    assert step.state == StepState.READY
    assert step.not_before is not None
    assert timedelta(minutes=59) < step.not_before - before < timedelta(minutes=61)


def test_a_lost_message_is_sent_again(engine_settings: Settings, messages: Messages) -> None:
    ask(engine_settings, messages)
    [step_id] = messages.take()  # and Redis comes back empty
    assert reap(engine_settings, messages).dispatched == 0
    time.sleep(engine_settings.ring_seconds)
    assert reap(engine_settings, messages).dispatched == 1
    assert messages.take() == [step_id]
    assert reap(engine_settings, messages).dispatched == 0  # the pause doubles


def test_steps_without_a_message_are_dispatched_by_priority(engine_settings: Settings, messages: Messages) -> None:
    def silent(_: object) -> None:
        raise BrokerUnavailable("no broker")

    for priority in (5, 9, 1):
        enqueue(engine_settings, silent, "probe", {}, priority=priority)
    reap(engine_settings, messages)
    assert [message.priority for message in messages.dispatched] == [9, 5, 1]


def test_jobs_that_change_the_same_target_wait_for_each_other(engine_settings: Settings, messages: Messages) -> None:
    first, second, other = (ask(engine_settings, messages, labels=labels).job.id or 0 for labels in ("a", "a", "b"))
    waits_for = {line.job.id: line.waits_for and line.waits_for.job_id for line in control.list_jobs(engine_settings)}
    assert waits_for == {first: None, second: first, other: None}
    assert len(messages.dispatched) == 2
    drain(engine_settings, messages, first)
    states = {line.job.id: line.job.state for line in control.list_jobs(engine_settings)}
    assert set(states.values()) == {JobState.SUCCEEDED}
    ends = [control.view(engine_settings, job).job for job in (first, second)]
    assert ends[0].finished_at and ends[1].started_at and ends[0].finished_at <= ends[1].started_at


def test_a_cancelled_job_unblocks_the_next(engine_settings: Settings, messages: Messages) -> None:
    first, second = (ask(engine_settings, messages, labels="a").job.id or 0 for _ in range(2))
    control.cancel(engine_settings, messages, first)
    drain(engine_settings, messages, second)
    assert control.view(engine_settings, second).job.state == JobState.SUCCEEDED
    control.retry(engine_settings, messages, first)
    assert drain(engine_settings, messages, first).state == JobState.SUCCEEDED


def test_what_follows_a_release_delays_no_other_job(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (
        Stage("prepare", nothing, holds="snapshot"),
        Stage("canary", nothing, after=("prepare",), may_fail=True),
        Stage("publish", nothing, after=("prepare",), releases="snapshot"),
        Stage("monitor", nothing, after=("publish",)),
    )
    monkeypatch.setitem(workflows(), "released", Workflow("released", Request, stages))
    first, second = (enqueue(engine_settings, messages, "released", {"labels": "a"}).job.id or 0 for _ in range(2))

    def run_one(stage: str) -> None:
        [step] = [each for each in messages.take() if stage_of(engine_settings, each) == stage]
        run_step(engine_settings, messages, step, "me")

    run_one("prepare")
    steps = {stage_of(engine_settings, each): each for each in messages.take()}
    run_step(engine_settings, messages, steps["publish"], "me")
    assert [stage_of(engine_settings, each) for each in messages.take()] == ["monitor"], "a stage before it is not done"
    run_step(engine_settings, messages, steps["canary"], "me")
    [prepare] = messages.take()
    assert step_of(engine_settings, second, "prepare").id == prepare
    assert control.view(engine_settings, first).job.state == JobState.RUNNING
    run_step(engine_settings, messages, prepare, "me")
    run_step(engine_settings, messages, step_of(engine_settings, first, "monitor").id or 0, "me")
    assert control.view(engine_settings, first).job.state == JobState.SUCCEEDED
    assert drain(engine_settings, messages, second).state == JobState.SUCCEEDED


def stage_of(settings: Settings, step: int) -> str:
    with transaction(settings) as session:
        return session.get_one(Step, step).stage


def test_the_reaper_starts_a_job_blocked_by_one_that_ended_unnoticed(
    engine_settings: Settings, messages: Messages
) -> None:
    first, second = (ask(engine_settings, messages, labels="a").job.id or 0 for _ in range(2))
    with transaction(engine_settings) as session:  # as a worker that was killed right after its commit
        end_job(session, session.get_one(Job, first), JobState.FAILED, "gone")
    messages.take()
    reap(engine_settings, messages)
    assert drain(engine_settings, messages, second).state == JobState.SUCCEEDED


def test_the_step_of_a_dead_process_is_released_at_once(engine_settings: Settings, messages: Messages) -> None:
    ask(engine_settings, messages)
    attempt = claim(engine_settings, messages.take()[0], "me")
    assert attempt is not None
    lost_process(engine_settings, messages, attempt.step_id, "somebody else", "its process died")
    assert extend(attempt)  # not theirs to give back
    lost_process(engine_settings, messages, attempt.step_id, "me", "its process died (signal 9 (SIGKILL))")
    assert not extend(attempt)
    assert messages.take() == [attempt.step_id]
    step = step_of(engine_settings, attempt.job_id, "prepare")
    assert step.error is not None
    assert "signal 9" in step.error


def test_without_a_broker_the_job_is_saved_and_starts_later(engine_settings: Settings, messages: Messages) -> None:
    def silent(_: object) -> None:
        raise BrokerUnavailable("no broker")

    done = enqueue(engine_settings, silent, "probe", {})
    assert (done.created, done.dispatched) == (True, False)
    reap(engine_settings, messages)
    assert drain(engine_settings, messages, done.job.id or 0).state == JobState.SUCCEEDED


def test_an_idempotency_key_makes_one_job(engine_settings: Settings, messages: Messages) -> None:
    def once(_: int) -> Enqueued:
        return enqueue(engine_settings, messages, "probe", {}, idempotency_key="today")

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(once, range(6)))
    assert len({enqueued.job.id for enqueued in done}) == 1
    assert [enqueued.created for enqueued in done].count(True) == 1


def test_a_key_of_another_request_is_an_error_that_names_the_job_and_what_differs(
    engine_settings: Settings, messages: Messages
) -> None:
    def nightly(kind: str = "probe", **options: object) -> Enqueued:
        return enqueue(engine_settings, messages, kind, options, idempotency_key="nightly")

    job = nightly(depth=3, inner={"a": 1, "b": 2}, where="postgresql://u:hidden@h/x").job
    for options in ({"depth": 4}, {"depth": 3, "inner": {"a": 1, "b": 3}}):
        with pytest.raises(KeyReused) as error:
            nightly(**options)
        assert f"Job {job.id} (probe) has the key 'nightly'" in str(error.value)
        assert f"segadmin jobs show {job.id}" in str(error.value)
        assert "hidden" not in str(error.value)
    assert "its inner.b is 2, not 3, its where is postgresql://u:***@h/x, not the default" in str(error.value)
    with pytest.raises(KeyReused, match="its kind is probe, not textualize"):
        nightly("textualize", depth=3, inner={"a": 1, "b": 2})
    assert [line.job.id for line in control.list_jobs(engine_settings)] == [job.id]


def test_a_job_from_before_requests_were_kept_is_compared_with_what_is_asked_only(
    engine_settings: Settings, messages: Messages
) -> None:
    done = enqueue(engine_settings, messages, "probe", {"depth": 3, "found": "x"}, idempotency_key="old")
    with transaction(engine_settings) as session:
        session.get_one(Job, done.job.id).asked = None
    again = enqueue(engine_settings, messages, "probe", {"depth": 3}, idempotency_key="old")
    assert (again.job.id, again.created) == (done.job.id, False)
    with pytest.raises(KeyReused, match="its depth is 3, not 4"):
        enqueue(engine_settings, messages, "probe", {"depth": 4}, idempotency_key="old")


def test_cancelling_fences_the_running_attempt(engine_settings: Settings, messages: Messages) -> None:
    job = ask(engine_settings, messages).job
    assert job.id
    attempt = claim(engine_settings, messages.take()[0], "me")
    assert attempt is not None
    control.cancel(engine_settings, messages, job.id)
    assert extend(attempt) is False
    with pytest.raises(StepFenced):
        finish(attempt, StageResult())
    with pytest.raises(InvalidTransition, match=f"Job {job.id} is cancelled"):
        control.cancel(engine_settings, messages, job.id)
    with pytest.raises(JobNotFound, match="There is no job 999"):
        control.cancel(engine_settings, messages, 999)


def test_retry_keeps_what_succeeded(engine_settings: Settings, messages: Messages) -> None:
    job = ask(engine_settings, messages).job
    assert job.id
    run_step(engine_settings, messages, messages.take()[0], "me")
    messages.take()
    control.cancel(engine_settings, messages, job.id)
    control.retry(engine_settings, messages, job.id)
    assert drain(engine_settings, messages, job.id).state == JobState.SUCCEEDED
    assert step_of(engine_settings, job.id, "prepare").attempt == 1
    with pytest.raises(InvalidTransition, match="only a failed or cancelled job"):
        control.retry(engine_settings, messages, job.id)


def test_a_released_step_does_not_count_as_an_attempt(engine_settings: Settings, messages: Messages) -> None:
    ask(engine_settings, messages)
    attempt = claim(engine_settings, messages.take()[0], "stopping")
    assert attempt is not None
    release(attempt, "the worker was stopped")
    again = claim(engine_settings, attempt.step_id, "other")
    assert again is not None
    assert (again.number, again.token > attempt.token) == (1, True)


def test_two_steps_that_finish_at_once_advance_the_job(engine_settings: Settings, messages: Messages) -> None:
    job = ask(engine_settings, messages).job
    assert job.id
    run_step(engine_settings, messages, messages.take()[0], "me")
    attempts = [claim(engine_settings, step_id, "me") for step_id in messages.take()]
    assert len(attempts) == 4

    def end(attempt: object) -> None:
        finish(attempt, StageResult(Facts(sum=1)))  # type: ignore[arg-type]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, attempts))
    assert step_of(engine_settings, job.id, "publish").state == StepState.READY


def test_an_empty_store_is_reported_before_anything_is_saved(engine_settings: Settings, messages: Messages) -> None:
    with transaction(engine_settings) as session:
        from segadmin.storage.records import Store

        session.delete(session.get_one(Store, 1))
    with pytest.raises(DataError, match="There are no events yet"):
        ask(engine_settings, messages)
    assert control.list_jobs(engine_settings) == []


def test_every_plan_is_in_order() -> None:
    for kind, workflow in workflows().items():
        seen: set[str] = set()
        for stage in workflow.stages:
            assert set(stage.after) <= seen, f"{kind}: {stage.name} comes before what it reads"
            assert stage.name in stage_names()
            seen.add(stage.name)


@pytest.mark.parametrize(("buckets", "fan_out"), [(16, 4), (1, 4), (8, 3), (64, 64)])
def test_bucket_ranges_cover_every_bucket_once(buckets: int, fan_out: int) -> None:
    covered = [bucket for first, last in bucket_ranges(buckets, fan_out) for bucket in range(first, last + 1)]
    assert covered == list(range(buckets))


#: What :func:`leave_a_cycle` left.
_LEFT: list[weakref.ref[Node]] = []


class Node:
    """Refers to itself, as models do by way of their parts: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


def leave_a_cycle(_: Attempt) -> StageResult:
    _LEFT.append(weakref.ref(Node()))
    return StageResult()


def test_memory_is_freed_between_steps(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(workflows(), "cycle", Workflow("cycle", Request, (Stage("prepare", leave_a_cycle),)))
    for _ in range(3):
        enqueue(engine_settings, messages, "cycle", {})
    _LEFT.clear()
    gc.disable()
    try:
        for step_id in messages.take():
            run_step(engine_settings, messages, step_id, "me")
    finally:
        gc.enable()
    assert [left() for left in _LEFT] == [None, None, None]


def test_a_hook_that_fails_is_logged_once(
    engine_settings: Settings, messages: Messages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine.py").write_text(
        "import segadmin\n\n@segadmin.hookimpl\ndef job_finished(job):\n    raise RuntimeError('no network')\n"
    )
    settings = engine_settings.model_copy(update={"plugin_files": (tmp_path / "mine.py",)})
    job = drain(settings, messages, ask(settings, messages).job.id or 0)
    assert job.state == JobState.SUCCEEDED
    [logged] = [record for record in caplog.records if "no network" in record.getMessage()]
    assert "failed in job_finished: RuntimeError: no network" in logged.getMessage()


def _with_report(monkeypatch: pytest.MonkeyPatch, fails: list[bool]) -> None:
    """Register the kind ``reported``: a stage that does what is asked, a report that may fail, and one after it."""

    def report(_: Attempt) -> StageResult:
        if fails[0]:
            raise DataError("the report cannot be made")
        return StageResult()

    stages = (
        Stage("prepare", nothing),
        Stage("monitor", report, after=("prepare",), may_fail=True),
        Stage("publish", nothing, after=("monitor",)),
    )
    monkeypatch.setitem(workflows(), "reported", Workflow("reported", Request, stages))


def test_a_stage_that_may_fail_leaves_a_warning_and_is_retried_alone(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = [True]
    _with_report(monkeypatch, fails)
    job = drain(engine_settings, messages, enqueue(engine_settings, messages, "reported", {}).job.id or 0)
    assert (job.state, job.error) == (JobState.SUCCEEDED, "monitor: the report cannot be made")
    assert job.has_warning
    number = job.id or 0
    assert step_of(engine_settings, number, "monitor").state == StepState.FAILED
    assert step_of(engine_settings, number, "publish").state == StepState.SUCCEEDED
    fails[0] = False
    control.retry(engine_settings, messages, number)
    job = drain(engine_settings, messages, number)
    assert (job.state, job.error, job.has_warning) == (JobState.SUCCEEDED, None, False)
    steps = {step.stage: (step.state, step.token) for step in control.view(engine_settings, number).steps}
    assert {state for state, _ in steps.values()} == {StepState.SUCCEEDED}
    assert steps["prepare"][1] == steps["publish"][1] < steps["monitor"][1], "only the report ran again"
    with pytest.raises(InvalidTransition, match="only a failed or cancelled job"):
        control.retry(engine_settings, messages, number)


def test_a_process_that_dies_in_a_stage_that_may_fail_ends_the_job_well(
    engine_settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_report(monkeypatch, [False])
    number = enqueue(engine_settings, messages, "reported", {}).job.id or 0
    run_step(engine_settings, messages, messages.take()[0], "me")
    [report] = messages.take()
    for _ in range(3):
        assert claim(engine_settings, report, "me") is not None
        lost_process(engine_settings, messages, report, "me", "it was killed")
    job = drain(engine_settings, messages, number)
    assert job.state == JobState.SUCCEEDED
    assert "monitor: it was killed (attempt 3 of 3)" in (job.error or "")
