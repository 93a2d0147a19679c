"""Posted events whose import failed as a whole are imported once the cause is fixed, whether or not more are posted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from segadmin.events.inbox import Inbox
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import INBOX_KEY, enqueue
from segadmin.jobs.requests import check_request
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job
from segadmin.storage.store import open_store
from segadmin.workflows.inbox_retry import PAUSE, failed_import
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
