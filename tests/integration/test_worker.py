"""Real Celery workers over a real Redis: what the engine promises, watched from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis
from sqlmodel import select

import tests.probe  # noqa: F401
from segadmin.jobs import control, schedules
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, ImportState, JobState, StepState
from segadmin.storage.store import open_store
from segadmin_api.cli.sources import LocalJobs
from segadmin_api.cli.watch import watch
from segadmin_worker.client import dispatcher
from tests.conftest import Cli
from tests.servers import beat, redis_server, wait_until, worker
from tests.stores import empty_store


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with short times, an upgraded database with a store of 8 buckets, and a running Redis."""
    for name, value in {"LEASE": "2", "HEARTBEAT": "0.4", "REAP": "0.3", "BACKOFF": "0.2"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    settings = get_settings()
    empty_store(settings)
    with redis_server(settings):
        yield settings


def ask(settings: Settings, **options: object) -> int:
    job = enqueue(settings, dispatcher(settings), "probe", dict(options)).job
    assert job.id is not None
    return job.id


def state(settings: Settings, job_id: int) -> JobState:
    return control.view(settings, job_id).job.state


def succeeds(settings: Settings, job_id: int, seconds: float) -> float:
    return wait_until(lambda: state(settings, job_id) == JobState.SUCCEEDED, seconds, f"job {job_id} succeeds")


def diary(settings: Settings, what: str) -> list[list[str]]:
    path = settings.root / "diary.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines if line.split()[1] == what]


def test_a_job_runs_and_the_cli_watches_it(home: Settings, cli: Cli) -> None:
    with worker(home):
        job = ask(home, pieces=4, sleep=0.05)
        watched = cli("jobs", "watch", str(job), PYTHONPATH=str(Path(__file__).parents[2]))
    assert f"Job {job} succeeded" in watched.stdout
    assert "textualize succeeded" in watched.stdout
    shown = json.loads(cli("jobs", "show", str(job), "--json").stdout)
    assert (shown["state"], shown["progress"]) == ("succeeded", 1.0)
    assert "tests" not in cli("jobs", "list").stderr


def test_a_piped_watch_shows_progress(home: Settings) -> None:
    """The job goes on until what is looked for was printed, so it does not matter how fast this machine is."""
    with worker(home):
        job = ask(home, pieces=10_000, sleep=0.05)
        command = [sys.executable, "-m", "segadmin_api.cli", "jobs", "watch", str(job)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watching:
            assert watching.stdout is not None
            begun = re.compile(rf"job {job}: textualize running · \d+% done · about .+ left\n")
            assert any(map(begun.fullmatch, watching.stdout))
            control.cancel(home, dispatcher(home), job)
    assert watching.returncode == 1


def test_a_piped_watch_prints_a_line_when_nothing_changes(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    line = re.compile(r"job \d+: \d+% done · \S+ % a minute · about .+ left · textualize \d+% \(piece \d+\)")
    printed = ""

    def line_was_printed() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return any(map(line.fullmatch, printed.splitlines()))

    with worker(home), ThreadPoolExecutor(1) as pool:
        job = ask(home, pieces=10_000, sleep=0.05)
        watching = pool.submit(watch, LocalJobs(home).view, job, every=0.3)
        try:
            wait_until(line_was_printed, 60, "a line with percentage, time left and what is done")
        finally:
            control.cancel(home, dispatcher(home), job)
        assert watching.result(20) == 1


def test_a_killed_pool_process_costs_one_attempt(home: Settings) -> None:
    """SIGKILL while a step runs, as the kernel does when memory is out: the step runs again elsewhere."""
    with worker(home), beat(home):
        job = ask(home, suicide=2)
        succeeds(home, job, 40)
    attempts = {step.bucket_from: step.attempt for step in control.view(home, job).steps}
    assert attempts == {-1: 1, 0: 1, 2: 2, 4: 1, 6: 1}


def test_a_killed_worker_costs_one_attempt(home: Settings) -> None:
    """SIGKILL the whole worker, parent and children; another worker goes on."""
    with worker(home, concurrency=1) as first, beat(home):
        job = ask(home, pieces=1000, sleep=0.05)
        wait_until(lambda: diary(home, "work"), 20, "a step starts")
        running = next(step for step in control.view(home, job).steps if step.state == StepState.RUNNING)
        family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        for member in family:
            member.kill()
        with worker(home, concurrency=5):
            again = wait_until(
                lambda: any(line[2:4] == [str(running.id), "2"] for line in diary(home, "work")), 30, "attempt 2"
            )
            assert again < 20
            control.cancel(home, dispatcher(home), job)


def test_jobs_survive_a_redis_that_restarts_empty(
    home: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ask(home)
    client = redis.Redis(unix_socket_path=str(home.redis_socket))
    assert client.llen("cpu:3") == 1
    client.flushall()
    with worker(home), beat(home):
        succeeds(home, job, 40)


def test_a_job_saved_without_a_broker_starts_when_it_is_back(settings: Settings, cli: Cli) -> None:
    empty_store(settings)
    done = enqueue(settings, dispatcher(settings), "probe", {})
    assert done.dispatched is False
    with redis_server(settings), worker(settings), beat(settings):
        succeeds(settings, done.job.id or 0, 40)


def test_cancel_stops_a_running_step(home: Settings) -> None:
    with worker(home):
        job = ask(home, pieces=1000, sleep=0.05)
        wait_until(lambda: diary(home, "work"), 20, "a step starts")
        control.cancel(home, dispatcher(home), job)
        client = redis.Redis(unix_socket_path=str(home.redis_socket))
        next_job = ask(home)
        succeeds(home, next_job, 20)  # the worker is free again
        client.close()
    assert state(home, job) == JobState.CANCELLED
    assert {step.state for step in control.view(home, job).steps} <= {StepState.CANCELLED, StepState.SUCCEEDED}


#: A query that never has a row, in one call of the driver.
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


def test_cancel_stops_an_ingest_that_waits_for_its_query(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_HEARTBEAT_SECONDS", "0.4")
    database.ensure_schema(settings)
    open_store(settings)
    (settings.root / "shop.db").touch()
    options = {"where": f"sqlite:///{settings.root / 'shop.db'}", "source_options": {"query": ENDLESS}}
    with redis_server(settings), worker(settings, queues="cpu,control", concurrency=1):
        ingest = enqueue(settings, dispatcher(settings), "ingest", options).job.id or 0
        wait_until(lambda: import_states(settings) == [ImportState.RUNNING], 20, "the query runs")
        control.cancel(settings, dispatcher(settings), ingest)
        retain = enqueue(settings, dispatcher(settings), "retain", {"keep_days": 1}).job.id or 0
        succeeds(settings, retain, 20)  # the one process is free again
    assert state(settings, ingest) == JobState.CANCELLED
    assert Lake.of(settings).scan("events").collect().is_empty()


def import_states(settings: Settings) -> list[ImportState]:
    with transaction(settings) as session:
        return [record.state for record in session.exec(select(Import)).all()]


def test_a_stopped_worker_returns_its_step(home: Settings) -> None:
    """SIGTERM: the running step is released at once and does not lose an attempt."""
    with worker(home, concurrency=1) as first:
        job = ask(home, pieces=400, sleep=0.05)
        wait_until(lambda: diary(home, "work"), 20, "a step starts")
        os.kill(first.pid, signal.SIGTERM)
        first.wait(20)
    steps = [step for step in control.view(home, job).steps if step.started_at and step.stage == "textualize"]
    assert [(step.state, step.attempt, step.error) for step in steps] == [
        (StepState.READY, 0, "the worker was stopped")
    ]


def test_two_beats_enqueue_a_slot_once(home: Settings) -> None:
    schedules.add(home, "often", "*/2 * * * * *", "probe", {})
    with beat(home), beat(home):
        wait_until(lambda: len(control.list_jobs(home)) >= 3, 30, "three slots")
    keys = [view.job.idempotency_key for view in control.list_jobs(home, limit=100)]
    assert len(keys) == len(set(keys))
    assert all(key and key.startswith("schedule:often:") for key in keys)


def test_task_names_and_arguments_are_readable(home: Settings) -> None:
    """What Flower shows comes from these messages: names of stages, buckets, no user."""
    ask(home)
    client = redis.Redis(unix_socket_path=str(home.redis_socket))
    [message] = [json.loads(raw) for raw in client.lrange("cpu:3", 0, -1)]  # type: ignore[union-attr]
    assert message["headers"]["task"] == "segadmin.prepare"
    assert message["headers"]["argsrepr"] == "job 1 · probe"
