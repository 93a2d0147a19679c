"""The engine's turning points are logged, with what a job is followed by."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from segadmin.errors import StepFenced
from segadmin.jobs import control, due_slots, schedules
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.lease import claim
from segadmin.jobs.reap import lost_process
from segadmin.jobs.registry import Request, Stage, Workflow, workflows
from segadmin.jobs.run import WorkerStopping, run_step
from segadmin.logs import ContextFilter, fields_of
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Schedule
from tests.stores import empty_store
from tests.unit.jobs.conftest import Messages

Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SEGADMIN_BACKOFF_SECONDS", "0")
    get_settings.cache_clear()
    settings = get_settings()
    empty_store(settings)
    return settings


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was logged since the last look, as the formatters write it."""
    caplog.set_level(logging.INFO, logger="segadmin")
    caplog.handler.addFilter(ContextFilter())

    def look() -> list[dict[str, object]]:
        logged = [{"message": record.getMessage(), **fields_of(record)} for record in caplog.records]
        caplog.clear()
        return logged

    return look


def ask(store: Settings, messages: Messages, **options: object) -> int:
    return enqueue(store, messages, "probe", dict(options)).job.id or 0


def test_a_step_that_fails_is_logged_by_the_class_of_its_error(
    store: Settings, messages: Messages, lines: Lines
) -> None:
    job = ask(store, messages, failures=1)
    (step,) = messages.take()
    run_step(store, messages, step, "me")
    claimed, failed = lines()
    who = {"job": job, "kind": "probe", "stage": "prepare", "step": step, "attempt": 1, "worker": "me"}
    assert claimed == {"message": "step claimed", "action": "claim", **who}
    assert failed.items() >= {"action": "fail", "reason": "RuntimeError", **who}.items()
    assert failed["message"] == f"step failed; why: segadmin jobs show {job}"
    assert "failure 1" not in str(failed)
    assert run_step(store, messages, 999, "me") is None
    assert [line["message"] for line in lines()] == ["nothing to do"]


def test_a_released_step_and_a_fenced_one(
    store: Settings, messages: Messages, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(attempt: Attempt) -> StageResult:
        raise WorkerStopping if attempt.token == 1 else StepFenced("it is another worker's")

    monkeypatch.setitem(workflows(), "ending", Workflow("ending", Request, (Stage("prepare", ends),)))
    enqueue(store, messages, "ending", {})
    (step,) = messages.take()
    with pytest.raises(WorkerStopping):
        run_step(store, messages, step, "me")
    run_step(store, messages, step, "me")
    logged = lines()
    assert [line["action"] for line in logged] == ["claim", "release", "claim", "fenced"]
    assert {line["kind"] for line in logged} == {"ending"}


def test_a_dead_process_and_the_end_of_its_job(store: Settings, messages: Messages, lines: Lines) -> None:
    once = store.model_copy(update={"max_attempts": 1})
    job = ask(once, messages)
    (step,) = messages.take()
    claim(once, step, "dying")
    lost_process(once, messages, step, "dying", "its process died")
    lost, ended = lines()
    assert lost.items() >= {"action": "lost", "job": job, "step": step, "attempt": 1, "worker": "dying"}.items()
    assert ended.items() >= {"message": "job ended", "action": "end", "job": job, "state": "failed"}.items()


def test_the_end_of_a_job_that_was_cancelled_or_failed_for_good(
    store: Settings, messages: Messages, lines: Lines
) -> None:
    job = ask(store, messages)
    control.cancel(store, messages, job)
    assert [(line["job"], line["state"]) for line in lines()] == [(job, "cancelled")]


def test_slots_of_schedules(store: Settings, messages: Messages, lines: Lines) -> None:
    schedules.add(store, "often", "*/5 * * * *", "compact", {})
    for late in (timedelta(seconds=2), timedelta(hours=1)):
        with transaction(store) as session:
            session.exec(select(Schedule)).one().next_slot = now(session) - late
        (job,) = due_slots.tick(store, messages)
        (line,) = lines()
        assert line.items() >= {"action": "schedule", "schedule": "often", "job": job.id, "kind": "compact"}.items()
    assert line["message"] == "schedule missed slots; one job makes up for them"
    assert line["slots"] in {12, 13}
