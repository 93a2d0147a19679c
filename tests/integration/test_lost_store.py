"""A store that goes away while a job runs: its steps stop and are tried again, and nothing is put in its place."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest

import tests.probe  # noqa: F401  (adds the probe job kind)
from segadmin.errors import ConfigurationError, StoreMissing
from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.lease import claim
from segadmin.jobs.run import run_step
from segadmin.models.artifact import save_artifact
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.records import JobState, Step
from tests.servers import wait_until
from tests.unit.core.test_store import take
from tests.unit.jobs.conftest import Messages
from tests.unit.models.test_artifact import MANIFEST, Writes


@pytest.fixture
def store(any_database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with short times, of a store with two users."""
    for name, value in {"LEASE": "60", "HEARTBEAT": "0.1", "BACKOFF": "0"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    database.upgrade(any_database)
    take(get_settings(), tmp_path)
    return get_settings()


def first_work(settings: Settings, messages: Messages, job: int) -> Step:
    """Return the first step that works, after running the one before it."""
    run_step(settings, messages, messages.take()[0], "me")
    return next(step for step in control.view(settings, job).steps if step.stage == "textualize")


def drain(settings: Settings, messages: Messages, job: int) -> JobState:
    while step_ids := messages.take():
        for step_id in step_ids:
            run_step(settings, messages, step_id, "me")
    return control.view(settings, job).job.state


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_running_step_stops_and_is_tried_again(store: Settings, tmp_path: Path, *, mount_point: bool) -> None:
    messages = Messages()
    job = enqueue(store, messages, "probe", {"pieces": 6000, "sleep": 0.01}).job.id or 0
    step = first_work(store, messages, job)
    messages.take()
    working = threading.Thread(target=run_step, args=(store, messages, step.id, "me"))
    working.start()
    try:
        wait_until(lambda: control.view(store, job).steps[1].state == "running", 20, "the step runs")
        store.store_path.rename(tmp_path / "away")
        if mount_point:
            store.store_path.mkdir()
    finally:
        working.join(20)
    assert not working.is_alive(), "it would take a minute"
    after = control.view(store, job).steps[1]
    assert (after.state, after.attempt) == ("ready", 1)
    assert f"The store is not in {store.store_path}" in (after.error or "")
    assert [*store.store_path.iterdir()] == [] if mount_point else not store.store_path.exists()


def test_a_job_that_failed_without_its_store_succeeds_when_it_is_retried(store: Settings, tmp_path: Path) -> None:
    messages = Messages()
    job = enqueue(store, messages, "probe", {}).job.id or 0
    step = first_work(store, messages, job)
    store.store_path.rename(tmp_path / "away")
    for _ in range(step.max_attempts):
        run_step(store, messages, step.id or 0, "me")
    failed = control.view(store, job).job
    assert (failed.state, "The store is not in" in (failed.error or "")) == (JobState.FAILED, True)
    with pytest.raises(StoreMissing):
        enqueue_compact(store)
    (tmp_path / "away").rename(store.store_path)
    messages.take()
    control.retry(store, messages, job)
    assert drain(store, messages, job) == JobState.SUCCEEDED


def enqueue_compact(settings: Settings) -> None:
    from segadmin.jobs.requests import check_request

    check_request(settings, "compact", {})


def test_nothing_is_written_in_the_place_of_the_store(store: Settings, tmp_path: Path) -> None:
    messages = Messages()
    enqueue(store, messages, "probe", {})
    attempt = claim(store, messages.take()[0], "me")
    assert attempt is not None
    draft = attempt.folder / "artifact"
    store.store_path.rename(tmp_path / "away")
    with pytest.raises(StoreMissing):
        attempt.write(pl.DataFrame({"n": [1]}), "numbers")
    with pytest.raises(StoreMissing):
        _ = attempt.checkpoints
    assert not store.store_path.exists()
    with pytest.raises(StoreMissing):
        save_artifact(store, draft, Writes({"weights.json": "[]"}), MANIFEST)
    assert not store.store_path.exists()


def test_a_step_stops_when_another_store_takes_the_place(store: Settings, tmp_path: Path) -> None:
    other = Settings(home=tmp_path / "other", database_url="")
    take(other, tmp_path)
    messages = Messages()
    enqueue(store, messages, "probe", {})
    attempt = claim(store, messages.take()[0], "me")
    assert attempt is not None
    store.store_path.rename(tmp_path / "away")
    other.store_path.rename(store.store_path)
    before = sorted(store.store_path.rglob("*"))
    with pytest.raises(ConfigurationError, match="belongs to the store"):
        attempt.write(pl.DataFrame({"n": [1]}), "numbers")
    assert sorted(store.store_path.rglob("*")) == before
    database.engine(other).dispose()
