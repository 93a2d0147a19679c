"""The riskiest faults again, through real Celery workers, a real beat and a real Redis."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest
import redis

from segadmin.jobs import control
from segadmin.storage.records import JobState, Step, StepState
from tests.faults.chain import broken_promises, content_hash
from tests.faults.world import USERS, World
from tests.servers import Process, beat, stop, wait_until, worker

pytestmark = pytest.mark.faults
APP = "tests.faults.chain"


class Shop:
    """A world with a Redis, a beat and workers, one process each; the first may carry a failpoint."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self.world, self.stack = world, stack
        stack.enter_context(world.redis())
        stack.enter_context(beat(world.settings, app=APP))

    def worker(self, failpoint: str = "", concurrency: int = 1) -> Process:
        """Start a worker."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEGADMIN_FAILPOINT", failpoint)
            return self.stack.enter_context(worker(self.world.settings, app=APP, concurrency=concurrency))

    def steps(self, job: int) -> dict[str, Step]:
        """Return a job's steps by stage and first bucket."""
        return {f"{step.stage}-{step.bucket_from}": step for step in control.view(self.world.settings, job).steps}

    def running(self, job: int) -> Step | None:
        """Return a step of ``score`` that runs."""
        running = (
            step for step in self.steps(job).values() if step.state == StepState.RUNNING and step.stage == "score"
        )
        return next(running, None)

    def ends(self, job: int, seconds: float = 60) -> float:
        """Wait for a job's end and return how long it took."""
        return wait_until(lambda: control.view(self.world.settings, job).job.state.over, seconds, "the job ends")

    @property
    def client(self) -> redis.Redis:
        """A client of this shop's Redis."""
        return redis.Redis(unix_socket_path=str(self.world.settings.redis_socket))


@pytest.fixture
def shop(world: World) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(world, stack)


def check(shop: Shop, job: int, fault_free: str) -> None:
    assert broken_promises(shop.world.settings, job, USERS) == []
    assert content_hash(shop.world.settings, job) == fault_free


@pytest.mark.parametrize(
    ("failpoint", "step"),
    [("compute@score-0:kill", "score-0"), ("commit@score-0:kill", "score-0"), ("publish:kill", "publish--1")],
)
def test_a_killed_pool_process(shop: Shop, failpoint: str, step: str, fault_free: str) -> None:
    shop.worker(failpoint)
    job = shop.world.enqueue_job()
    shop.ends(job)
    check(shop, job, fault_free)
    assert shop.steps(job)[step].attempt == 2


@pytest.mark.parametrize("failpoint", ["claim@score-0:kill-worker", "write@score-0:kill-worker", "publish:kill-worker"])
def test_a_killed_worker(shop: Shop, failpoint: str, fault_free: str) -> None:
    first = shop.worker(failpoint)
    job = shop.world.enqueue_job()
    assert first.wait(40) == -signal.SIGKILL
    shop.worker()
    shop.ends(job)
    check(shop, job, fault_free)


@pytest.mark.parametrize("failpoint", ["write@score-0:stop", "publish:stop"])
def test_a_zombie_writer(shop: Shop, failpoint: str, fault_free: str) -> None:
    first = shop.worker(failpoint)
    job = shop.world.enqueue_job()

    def zombie() -> psutil.Process | None:
        pool = psutil.Process(first.pid).children()
        return next((process for process in pool if process.status() == psutil.STATUS_STOPPED), None)

    wait_until(zombie, 40, "a pool process is stopped")
    stopped = zombie()
    assert stopped is not None
    shop.worker()
    shop.ends(job)
    check(shop, job, fault_free)
    stopped.resume()
    following = shop.world.enqueue_job()  # the worker that was stopped is of use again
    shop.ends(following)
    check(shop, following, fault_free)


def test_a_terminated_worker(shop: Shop, fault_free: str) -> None:
    first = shop.worker()
    job = shop.world.enqueue_job(pieces=40)
    wait_until(lambda: shop.running(job), 40, "a step runs")
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait(20) == 0
    assert not shop.running(job)
    shop.worker(concurrency=4)
    shop.ends(job)
    check(shop, job, fault_free)
    assert {step.attempt for step in shop.steps(job).values()} == {1}


def test_redis_is_killed_and_comes_back_empty(shop: Shop, fault_free: str) -> None:
    shop.worker()
    job = shop.world.enqueue_job(pieces=10)
    wait_until(lambda: shop.running(job), 40, "a step runs")
    shop.world.kill_redis()
    time.sleep(1)
    with shop.world.redis():
        shop.ends(job)
    check(shop, job, fault_free)


def test_redis_does_not_answer_for_a_while(shop: Shop, fault_free: str) -> None:
    shop.worker()
    job = shop.world.enqueue_job(pieces=10)
    wait_until(lambda: shop.running(job), 40, "a step runs")
    assert shop.world.process is not None
    shop.world.process.send_signal(signal.SIGSTOP)
    time.sleep(8)  # its clients give up after three
    shop.world.process.send_signal(signal.SIGCONT)
    shop.ends(job)
    check(shop, job, fault_free)


def test_every_message_five_times(shop: Shop, fault_free: str) -> None:
    job = shop.world.enqueue_job()
    key = next(name for name in shop.client.keys("cpu*") if shop.client.type(name) == b"list")  # type: ignore[union-attr]
    [message] = shop.client.lrange(key, 0, -1)  # type: ignore[misc]
    for number in range(4):
        again = json.loads(message)
        again["properties"]["delivery_tag"] = f"again-{number}"
        shop.client.lpush(key, json.dumps(again))
    shop.worker(concurrency=2)
    shop.ends(job)
    check(shop, job, fault_free)
    assert {step.attempt for step in shop.steps(job).values()} == {1}


def test_the_disk_is_full_for_a_while(shop: Shop, fault_free: str) -> None:
    shop.worker("write@score:enospc")
    job = shop.world.enqueue_job()
    shop.ends(job)
    check(shop, job, fault_free)
    assert {step.attempt for step in shop.steps(job).values() if step.stage == "score"} == {2}


def test_the_database_is_unavailable_for_a_while(shop: Shop, fault_free: str) -> None:
    shop.worker()
    job = shop.world.enqueue_job(pieces=10)
    wait_until(lambda: shop.running(job), 40, "a step runs")
    with shop.world.database_down():
        time.sleep(3)
    shop.ends(job)
    check(shop, job, fault_free)


def test_a_process_that_crashes_every_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job fails with what its worker saw, long before a lease runs out, and the worker goes on."""
    monkeypatch.setenv("SEGADMIN_LEASE_SECONDS", "30")
    first = shop.worker("compute@score-0:exit!")
    job = shop.world.enqueue_job()
    shop.ends(job)
    failed = control.view(shop.world.settings, job).job
    assert failed.state == JobState.FAILED
    assert "exitcode 7" in (failed.error or "")
    assert "(attempt 3 of 3)" in (failed.error or "")
    assert first.poll() is None
    stop(first)
    shop.worker()
    control.retry(shop.world.settings, lambda _: None, job)
    shop.ends(job)
    assert broken_promises(shop.world.settings, job, USERS) == []


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        ("raises", "failed in predict: ValueError: I do not like this data"),
        ("exits", "failed in predict: SystemExit: 3"),
        ("exits at once", "exitcode 3"),
        ("crashes", "signal 11 (SIGSEGV)"),
        ("hangs", "a step may run 4 s"),
        ("eats memory", "GiB of memory; a step may take 0.6 GiB"),
    ],
)
def test_a_plugin_that_misbehaves(shop: Shop, poison: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job fails with a reason that names it, and the worker does the next one."""
    for name, value in {"LEASE_SECONDS": "20", "STEP_SECONDS": "4", "STEP_MEMORY_GIB": "0.6"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}", value)
    process = shop.worker()
    job = shop.world.enqueue_job(poison=poison)
    shop.ends(job)
    failed = control.view(shop.world.settings, job).job
    assert failed.state == JobState.FAILED
    for word in (
        "PluginError" if poison in {"exits at once", "crashes"} else "",
        "'poison' of somebody's-plugin 1.2",
        reason,
    ):
        assert word in (failed.error or "")
    following = shop.world.enqueue_job()
    shop.ends(following)
    assert broken_promises(shop.world.settings, following, USERS) == []
    assert process.poll() is None


def test_an_urgent_job_overtakes_a_big_one(shop: Shop) -> None:
    big = shop.world.enqueue_job(pieces=20, alone=False)
    shop.worker()
    wait_until(lambda: shop.running(big), 40, "the big job's first step runs")
    from segadmin.jobs.enqueue import enqueue
    from segadmin_worker.client import dispatcher

    settings = shop.world.settings
    urgent = (
        enqueue(settings, dispatcher(settings), "chain", {"labels": "other", "alone": False}, priority=9).job.id or 0
    )
    shop.ends(urgent)
    assert not control.view(settings, big).job.state.over
    shop.ends(big)
