"""Many small jobs through a real Redis, real workers and real beats: how many messages they take, and what is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import psutil
import pytest
import redis

import tests.probe  # noqa: F401
from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.reap import reap
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import JobState
from segadmin_worker.client import dispatcher
from segadmin_worker.inspection import queue_lengths
from tests.conftest import Cli
from tests.servers import beat, redis_server, stop, wait_until, worker
from tests.stores import empty_store

#: A job of `probe` on a store of one bucket: three stages of one step.
STEPS = 3


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings by which a ring is looked for at once, a store of one bucket, and a running Redis."""
    times = {"LEASE": "2", "HEARTBEAT": "0.4", "REAP": "0.2", "BACKOFF": "0.2", "RING": "0.3"}
    for name, value in times.items():
        monkeypatch.setenv(f"SEGADMIN_{name}_SECONDS", value)
    get_settings.cache_clear()
    settings = get_settings()
    empty_store(settings, buckets=1)
    with redis_server(settings):
        yield settings


@pytest.fixture
def client(home: Settings) -> Iterator[redis.Redis]:
    """A client of the running Redis."""
    with redis.Redis(unix_socket_path=str(home.redis_socket)) as client:
        yield client


def ask(settings: Settings, jobs: int, **options: object) -> list[int]:
    return [enqueue(settings, dispatcher(settings), "probe", dict(options)).job.id or 0 for _ in range(jobs)]


def messages(client: redis.Redis) -> int:
    """Return how many messages were put into queues so far."""
    return int(client.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"])  # type: ignore[union-attr]


def succeed(settings: Settings, jobs: list[int]) -> None:
    def states() -> set[JobState]:
        return {line.job.state for line in control.list_jobs(settings, 1000) if line.job.id in jobs}

    wait_until(lambda: states() == {JobState.SUCCEEDED}, 120, "all jobs succeed")


def test_beats_send_one_message_per_step_of_an_idle_backlog(home: Settings, client: redis.Redis) -> None:
    jobs = ask(home, 10)
    with beat(home) as first, beat(home) as second:
        wait_until(
            lambda: all(b"beat" in (home.root / "beat.log").read_bytes() for _ in (first, second)), 20, "they run"
        )
        time.sleep(3)  # ten times as long as a ring may take
    assert messages(client) == queue_lengths(home)["cpu"] == 10
    with worker(home), beat(home):
        succeed(home, jobs)
    assert messages(client) <= 2 * STEPS * len(jobs)


def test_redis_is_emptied_while_jobs_run(home: Settings, client: redis.Redis) -> None:
    jobs = ask(home, 15)
    with worker(home), beat(home):
        wait_until(lambda: control.view(home, jobs[5]).job.state == JobState.SUCCEEDED, 60, "some are done")
        client.flushall()
        succeed(home, jobs)
    assert messages(client) <= 2 * STEPS * len(jobs)
    steps = [step for job in jobs for step in control.view(home, job).steps]
    assert {step.attempt for step in steps} == {1}


def test_a_worker_is_killed_while_it_holds_messages(home: Settings, client: redis.Redis) -> None:
    """What it had taken from the queue and what it ran: both are done by another, the first at its first attempt."""
    jobs = ask(home, 6, pieces=5, sleep=0.05)
    with worker(home, concurrency=2) as first, beat(home):
        wait_until(lambda: client.hlen("unacked") >= 2, 60, "it has taken two")  # type: ignore[operator]
        for member in [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]:
            member.kill()
        with worker(home, concurrency=2):
            succeed(home, jobs)


def test_a_frozen_worker_that_holds_messages(home: Settings, client: redis.Redis) -> None:
    """It is stopped, not dead: nobody gives back what it had taken, but the count of the queue tells."""
    jobs = ask(home, 6, pieces=4, sleep=0.05)
    with worker(home, concurrency=2) as first, beat(home):
        wait_until(lambda: client.hlen("unacked") >= 1, 60, "it has taken one")  # type: ignore[operator]
        family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        with transaction(home) as session:
            session.connection()  # none of them is in the middle of a transaction then, which would lock SQLite for all
            for member in family:
                member.suspend()
        try:
            with worker(home, concurrency=2):
                succeed(home, jobs)
        finally:
            for member in family:
                member.resume()


def test_foreign_messages_do_not_hide_lost_ones(home: Settings, client: redis.Redis) -> None:
    jobs = ask(home, 3)
    client.delete("cpu:3")
    for number in range(20):
        client.lpush("cpu:3", json.dumps({"nonsense": number}))
    with worker(home), beat(home):
        succeed(home, jobs)


def test_closed_connections_to_redis_are_reopened(home: Settings, client: redis.Redis) -> None:
    """A Redis that was restarted is reached over the connection that was kept open to the one before."""
    dispatch = dispatcher(home)
    enqueue(home, dispatch, "probe", {})
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    done = enqueue(home, dispatch, "probe", {})
    assert done.dispatched, done.trouble
    assert queue_lengths(home)["cpu"] == 2
    client.flushall()
    time.sleep(home.ring_seconds)
    assert reap(home, dispatch, lambda: queue_lengths(home)).dispatched == 2


def test_a_broker_stops_between_two_enqueues(settings: Settings) -> None:
    empty_store(settings, buckets=1)
    dispatch = dispatcher(settings)
    with redis_server(settings) as process:
        assert enqueue(settings, dispatch, "probe", {}).dispatched
        stop(process)
    started = time.monotonic()
    done = enqueue(settings, dispatch, "probe", {})
    assert not done.dispatched
    assert time.monotonic() - started < 10
    with redis_server(settings):
        assert reap(settings, dispatch, lambda: queue_lengths(settings)).dispatched == 1, "the one that it did not take"


def test_a_process_freezes_its_modules_for_the_garbage_collector(home: Settings) -> None:
    jobs = ask(home, 2)
    with worker(home, concurrency=1, prefix=("env",)):  # started anew: in a fork of ours modules are frozen already
        succeed(home, jobs)
    first, second = (control.view(home, job).steps[0].result["frozen"] for job in jobs)
    assert first < second
    assert second > 10_000


def test_older_jobs_are_on_the_next_page(home: Settings, cli: Cli) -> None:
    ask(home, 5)
    first = cli("jobs", "list", "--limit", "2").stdout
    assert "Older ones: segadmin jobs list --before 4" in first
    second = json.loads(cli("jobs", "list", "--limit", "2", "--before", "4", "--json").stdout)
    assert [job["id"] for job in second] == [3, 2]
    last = cli("jobs", "list", "--before", "3", "--state", "queued").stdout
    assert "Older" not in last
