"""Posted events whose import failed as a whole are imported once the cause is fixed, whether or not more are posted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from segadmin.events.inbox import Inbox
from segadmin.events.mapping import Mapping
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import INBOX_KEY, enqueue
from segadmin.jobs.requests import check_request
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, Step, utcnow
from segadmin.storage.store import open_store
from segadmin.workflows.inbox_retry import PAUSE, failed_import
from segadmin_api import inbox_import
from segadmin_worker.app import app
from segadmin_worker.schedule import SqlScheduler
from tests.conftest import Cli
from tests.privacy.victim import event, post


@pytest.fixture
def import_posted(settings: Settings) -> Callable[[str], Job]:
    """Enqueue an import of the inbox, as a slot does, run it, and return its job."""

    def run(slot: str) -> Job:
        messages: list[StepMessage] = []
        options = check_request(settings, "ingest", {"where": "inbox://"})
        job = enqueue(settings, messages.extend, "ingest", options, idempotency_key=INBOX_KEY + slot).job
        run_step(settings, lambda _: None, messages[0].step_id, "me")
        return job

    return run


def finding(cli: Cli) -> dict[str, str]:
    [inbox] = [entry for entry in json.loads(cli("doctor", "--json", check=False).stdout) if entry["what"] == "inbox"]
    return inbox  # type: ignore[no-any-return]


def tick() -> None:
    SqlScheduler(app=app, lazy=True).tick()


def state_of(settings: Settings, job: Job) -> str:
    with transaction(settings) as session:
        return session.get_one(Job, job.id).state


def wait_a_pause(settings: Settings, job: Job) -> None:
    with transaction(settings) as session:
        failed = session.get_one(Job, job.id)
        assert failed.finished_at is not None
        failed.finished_at -= PAUSE


def test_a_failed_import_is_tried_again_when_the_secret_is_back(
    settings: Settings, cli: Cli, import_posted: Callable[[str], Job]
) -> None:
    open_store(settings)
    post(settings, event("u1"))
    secret = settings.root / "user_key_secret"
    away = secret.rename(settings.root / "away")
    job = import_posted("1")
    assert state_of(settings, job) == "failed"
    inbox = finding(cli)
    assert (inbox["level"], f"jobs retry {job.id}" in inbox["mend"]) == ("fail", True)
    assert f"waiting: 1 batch of posted events; the import, job {job.id}, failed: ingest: The" in inbox["detail"]
    wait_a_pause(settings, job)
    tick()
    assert state_of(settings, job) == "failed", "the secret is still missing"
    away.rename(secret)
    tick()
    assert state_of(settings, job) == "queued"
    assert failed_import(settings) is None
    run_step(settings, lambda _: None, 1, "me")
    assert state_of(settings, job) == "succeeded"
    assert Lake.of(settings).scan("users").collect()["user"].to_list() == ["u1"]
    assert not Inbox.of(settings).batches()
    assert finding(cli)["level"] == "ok"


def test_an_import_that_failed_is_given_a_pause_and_one_that_a_later_one_replaces_is_left(
    settings: Settings, import_posted: Callable[[str], Job]
) -> None:
    open_store(settings)
    post(settings, event("u1"))
    secret = settings.root / "user_key_secret"
    away = secret.rename(settings.root / "away")
    first, second = import_posted("1"), import_posted("2")
    away.rename(secret)
    tick()
    assert (state_of(settings, first), state_of(settings, second)) == ("failed", "failed"), "a moment ago"
    wait_a_pause(settings, first)
    wait_a_pause(settings, second)
    tick()
    assert (state_of(settings, first), state_of(settings, second)) == ("failed", "queued"), "one takes all"


def test_events_whose_server_was_killed_before_it_enqueued_their_import_are_imported(
    settings: Settings, import_posted: Callable[[str], Job]
) -> None:
    open_store(settings)
    post(settings, event("u1"))
    first = import_posted("1")
    batch = post(settings, event("u2"))
    tick()
    assert failed_import(settings) is None
    assert imports_of(settings) == [first.id], "a moment ago"
    wait_a_pause(settings, first)
    tick()
    assert imports_of(settings) == [first.id], "whoever stored them may be about to enqueue their import"
    long_ago = time.time() - 2 * PAUSE.total_seconds()
    os.utime(batch, (long_ago, long_ago))
    tick()
    tick()
    [_, second] = imports_of(settings)
    run_step(settings, lambda _: None, second, "me")
    assert set(Lake.of(settings).scan("users").collect()["user"]) == {"u1", "u2"}
    assert not Inbox.of(settings).batches()


def test_a_slot_that_comes_again_after_the_clock_was_set_back_is_imported_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(settings)
    mapping = Mapping()
    for user in ("u1", "u2"):
        post(settings, event(user))
        inbox_import._import_at.cache_clear()  # another process
        inbox_import._import_at(settings, 1_700_000_000.0, mapping.model_dump_json())
        newest = imports_of(settings)[-1]
        inbox_import._import_at.cache_clear()
        inbox_import._import_at(settings, 1_700_000_000.0, mapping.model_dump_json())
        assert imports_of(settings)[-1] == newest, "one import for all that is posted until it begins"
        run_step(settings, lambda _: None, newest, "me")
    assert len(imports_of(settings)) == 2
    assert set(Lake.of(settings).scan("users").collect()["user"]) == {"u1", "u2"}


@pytest.mark.parametrize("hours", [-3, 3])
def test_slots_follow_the_clock_of_the_database(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A server whose clock is wrong: its imports would wait for hours, or begin before all of their slot is posted."""
    open_store(settings)
    moments = [utcnow() + timedelta(hours=hours)]
    monkeypatch.setattr(inbox_import, "now", lambda _: moments[0])
    inbox_import._slots.cache_clear()
    inbox_import.import_soon(settings, Mapping())
    inbox_import._slots.cache_clear()
    with transaction(settings) as session:
        due = session.exec(select(Step.not_before)).one()
    assert due is not None
    assert timedelta() < due - moments[0] <= timedelta(seconds=settings.inbox_seconds + 1)


def imports_of(settings: Settings) -> list[int]:
    with transaction(settings) as session:
        return [number or 0 for number in session.exec(select(Job.id).order_by(Job.id)).all()]  # type: ignore[arg-type]
