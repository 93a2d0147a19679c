"""The log of each step is kept beside its outputs: bounded, masked, and up to the last line before a kill."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from segadmin.errors import JobNotFound
from segadmin.events.erase import forget
from segadmin.jobs import step_log
from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.control import cancel
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.finish import fail
from segadmin.jobs.lease import claim
from segadmin.jobs.registry import Request, Stage, Workflow, workflows
from segadmin.jobs.run import run_step
from segadmin.jobs.step_log import KEPT, kept_log, log_lines
from segadmin.logs import log_context
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Step
from tests.stores import empty_store
from tests.unit.jobs.conftest import Messages

log = logging.getLogger("a.plugin")


@pytest.fixture(autouse=True)
def as_a_worker(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Log as much as a worker does."""
    caplog.set_level(logging.INFO)
    yield


@pytest.fixture
def attempt(settings: Settings, messages: Messages) -> Attempt:
    """An attempt of the first step of a job."""
    empty_store(settings)
    enqueue(settings, messages, "probe", {})
    attempt = claim(settings, messages.take()[0], "me")
    assert attempt is not None
    return attempt


def messages_of(settings: Settings) -> list[str]:
    return [line.message for line in log_lines(settings, 1)]


def test_a_step_that_runs_leaves_its_lines(settings: Settings, messages: Messages) -> None:
    empty_store(settings)
    enqueue(settings, messages, "probe", {"failures": 1})
    [step] = messages.take()
    run_step(settings, messages, step, "me")
    claimed, failed = log_lines(settings, 1)
    assert (claimed.message, claimed.stage, claimed.step, claimed.attempt) == ("step claimed", "prepare", step, 1)
    assert (failed.level, failed.facts["reason"]) == ("ERROR", "RuntimeError")
    assert "probe.py" in failed.error
    assert "failure 1" not in str(failed), "what an error says may quote data"
    with transaction(settings) as session:
        assert (session.get_one(Step, step).memory_bytes or 0) > 2**20


def test_only_lines_of_the_step_are_kept(attempt: Attempt) -> None:
    log.info("before")
    with log_context(step=attempt.step_id), kept_log(attempt):
        log.info("mine")
        thread = threading.Thread(target=lambda: log.info("of a thread without a context"))
        thread.start()
        thread.join()
        with log_context(step=attempt.step_id + 1):
            log.info("of another step")
    log.info("after")
    assert messages_of(attempt.settings) == ["mine", "of a thread without a context"]


def test_secrets_are_masked(attempt: Attempt) -> None:
    with kept_log(attempt):
        log.info("connecting to %s", "postgresql://bob:s3cret@shop/db", extra={"url": "http://bob:s3cret@shop"})
        try:
            raise ValueError("http://bob:s3cret@shop")
        except ValueError:
            log.exception("it failed")
    [path] = attempt.folder.glob("log*")
    assert "s3cret" not in path.read_text()
    connecting, failed = log_lines(attempt.settings, 1)
    assert connecting.message == "connecting to postgresql://bob:***@shop/db"
    assert "http://bob:***@shop" in failed.error


def test_the_number_and_length_of_lines_are_bounded(attempt: Attempt) -> None:
    with kept_log(attempt):
        for number in range(5 * KEPT + 7):
            log.info("line %d", number)
        log.info("x" * 100_000, extra={"long": "y" * 100_000})
    lines = log_lines(attempt.settings, 1, limit=2 * KEPT)
    assert [line.message for line in lines[-3:-1]] == [f"line {5 * KEPT + n}" for n in (5, 6)]
    assert KEPT <= len(lines) <= 2 * KEPT
    assert len(log_lines(attempt.settings, 1)) == KEPT
    assert len(lines[-1].message) < 5_000
    assert sum(path.stat().st_size for path in attempt.folder.iterdir()) < 200_000


@pytest.mark.parametrize(
    "text", ["two\nlines", "a\u2028b", '"quoted"', "\x1b[31mred", "<script>alert(1)</script>", "用户"]
)
def test_any_text_is_one_line(attempt: Attempt, text: str) -> None:
    with kept_log(attempt):
        log.info(text)
    assert messages_of(attempt.settings) == [text]


def test_a_killed_process_loses_no_line(attempt: Attempt) -> None:
    child = os.fork()
    if child == 0:
        with kept_log(attempt):
            log.info("the last words")
            os._exit(9)
    os.waitpid(child, 0)
    assert messages_of(attempt.settings) == ["the last words"]


def test_half_a_line_is_left_out(attempt: Attempt) -> None:
    with kept_log(attempt):
        log.info("whole")
    [path] = attempt.folder.glob("log*")
    with path.open("a") as file:
        file.write('{"time": "2026-01-01T00:0')
        file.write("\n[1]\n" + json.dumps({"time": 3}) + "\n")
    assert messages_of(attempt.settings) == ["whole"]


def test_a_log_that_cannot_be_written_fails_no_step(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(Attempt, "folder", tmp_path / "file")
    with kept_log(attempt):
        log.info("not kept")
    assert log_lines(attempt.settings, 1) == []


def test_what_is_not_there_is_said(attempt: Attempt) -> None:
    with pytest.raises(JobNotFound, match=r"There is no job 9\. List them: segadmin jobs list"):
        log_lines(attempt.settings, 9)
    with pytest.raises(JobNotFound, match=r"Job 1 has no step 99\. See its steps: segadmin jobs show 1"):
        log_lines(attempt.settings, 1, step=99)
    with pytest.raises(JobNotFound, match="Job 1 has no stage 'x'"):
        log_lines(attempt.settings, 1, stage="x")
    assert log_lines(attempt.settings, 1, stage="publish") == []


def test_steps_and_attempts_are_in_the_order_of_time(
    settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(attempt: Attempt) -> StageResult:
        log.info("%s %d", attempt.stage, attempt.number)
        if attempt.stage == "one" and attempt.number == 1:
            raise RuntimeError
        return StageResult()

    monkeypatch.setenv("SEGADMIN_BACKOFF_SECONDS", "0")
    stages = (Stage("one", talk), Stage("two", talk, after=("one",)))
    monkeypatch.setitem(workflows(), "talk", Workflow("talk", Request, stages))
    empty_store(settings)
    settings = settings.model_copy(update={"backoff_seconds": 0.0})
    enqueue(settings, messages, "talk", {})
    with transaction(settings) as session:
        one, two = session.exec(select(Step.id).order_by(Step.id)).all()  # type: ignore[arg-type]
    for step in (one, one, two):
        run_step(settings, messages, step or 0, "me")
    said = [(line.message, line.attempt) for line in log_lines(settings, 1) if line.logger == "a.plugin"]
    assert said == [("one 1", 1), ("one 2", 2), ("two 1", 1)]
    assert {line.step for line in log_lines(settings, 1, step=two)} == {two}
    assert {line.stage for line in log_lines(settings, 1, stage="one")} == {"one"}
    assert len(log_lines(settings, 1, limit=2)) == 2
    assert step_log.MOST >= step_log.KEPT


def test_an_erasure_leaves_nothing_of_the_logs(shop: Settings, messages: Messages) -> None:
    job = enqueue(shop, messages, "compact", {}).job.id or 0
    attempt = claim(shop, messages.take()[0], "me")
    assert attempt is not None
    with kept_log(attempt):
        log.info("a plugin names %s", "user-1")
    fail(attempt, RuntimeError())
    assert [line.message for line in log_lines(shop, job)] == ["a plugin names user-1"]
    for number in (1, job):  # the first one has trained the shop, without the engine
        cancel(shop, messages, number)
    [erased] = forget(shop, ["user-1"])
    assert erased.is_known
    assert log_lines(shop, job) == []
    assert not any(b"user-1 " in path.read_bytes() for path in shop.store_path.rglob("log*.jsonl"))


def test_logs_of_long_ago_are_deleted(settings: Settings, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_log, "KEPT_JOBS", 2)
    empty_store(settings)
    for number in range(1, 6):
        enqueue(settings, messages, "compact", {})
        attempt = claim(settings, messages.take()[0], "me")
        assert attempt is not None
        with kept_log(attempt):
            log.info("job %d", number)
    assert [len(log_lines(settings, number)) for number in range(1, 6)] == [0, 0, 0, 1, 1]
