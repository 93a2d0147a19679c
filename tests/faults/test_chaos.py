"""Random faults, by seed, over several jobs on two workers until every job is done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
import redis
from sqlmodel import func, select

from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Step
from segadmin_worker.client import dispatcher
from tests.faults.chain import broken_promises, content_hash
from tests.faults.world import USERS, World
from tests.servers import beat, worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
JOBS, FAN_OUT = 12, 16
APP = "tests.faults.chain"


@contextmanager
def one_worker(world: World) -> Iterator[None]:
    """Keep a worker going, as a supervisor does: whenever it ends, another starts."""
    over = threading.Event()

    def supervise() -> None:
        while not over.is_set():
            with worker(world.settings, app=APP, concurrency=2) as process:
                while not over.is_set() and process.poll() is None:
                    time.sleep(0.1)

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def workers(world: World) -> list[psutil.Process]:
    """Return the workers' main processes."""
    mine = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "worker" in process.cmdline() and APP in process.cmdline():
                mine.append(process)
    return mine


def break_something(world: World, dice: random.Random, client: redis.Redis) -> str:
    """Do one random thing to the running system and say what."""
    fault = dice.choice(
        ["kill child", "kill child", "kill worker", "stop child", "term worker", "flush redis", "repeat", "nonsense"]
    )
    mains = workers(world)
    if not mains:
        return "nothing"
    main = dice.choice(mains)
    with contextlib.suppress(psutil.Error, redis.RedisError, IndexError):
        if fault == "kill child":
            dice.choice(main.children()).kill()
        elif fault == "kill worker":
            family = main.children()
            main.kill()
            for member in family:
                member.kill()
        elif fault == "stop child":
            child = dice.choice(main.children())
            child.suspend()
            threading.Timer(dice.uniform(0.5, 3.0), lambda: _resume(child)).start()
        elif fault == "term worker":
            main.terminate()
        elif fault == "flush redis":
            client.flushall()
        elif fault in {"repeat", "nonsense"}:
            _tamper(client, fault)
    return fault


def _resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.resume()


def _tamper(client: redis.Redis, fault: str) -> None:
    for key in client.keys("cpu*"):  # type: ignore[union-attr]
        if client.type(key) != b"list":
            continue
        message = json.loads(client.lindex(key, 0))  # type: ignore[arg-type]
        message["properties"]["delivery_tag"] = os.urandom(8).hex()
        if fault == "nonsense":
            message["headers"]["task"] = "no.such.task"
        client.lpush(key, json.dumps(message))


@pytest.mark.parametrize("seed", range(4))
def test_chaos(world: World, seed: int, fault_free: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if world.postgres != bool(seed % 2):
        pytest.skip("two seeds on each database")
    for name, value in {"FAN_OUT": str(FAN_OUT), "MAX_ATTEMPTS": "40"}.items():
        monkeypatch.setenv(f"SEGADMIN_{name}", value)
    get_settings.cache_clear()
    world.settings = settings = get_settings()
    dice, faults = random.Random(seed), []
    with ExitStack() as stack:
        stack.enter_context(world.redis())
        stack.enter_context(beat(settings, app=APP))
        options = [{"labels": f"labels-{n}", "pieces": 4} for n in range(JOBS)]
        jobs = [enqueue(settings, dispatcher(settings), "chain", job_options).job.id or 0 for job_options in options]
        stack.enter_context(one_worker(world))
        stack.enter_context(one_worker(world))
        client = redis.Redis(unix_socket_path=str(settings.redis_socket))
        deadline = time.monotonic() + 300
        calm = time.monotonic() + 40
        while not all(control.view(settings, job).job.state.over for job in jobs):
            assert time.monotonic() < deadline, [control.view(settings, job) for job in jobs]
            if time.monotonic() < calm:
                faults.append(break_something(world, dice, client))
            time.sleep(dice.uniform(0.3, 1.2))
        client.close()
    for job in jobs:
        assert broken_promises(settings, job, USERS) == []
        assert content_hash(settings, job) == fault_free
    with transaction(settings) as session:
        steps, starts = session.exec(
            select(func.count(), func.sum(Step.attempt)).where(Step.job_id.in_(jobs))  # type: ignore[attr-defined]
        ).one()
    assert steps >= 180
    print(f"chaos seed {seed}: {steps} steps, {starts / steps:.2f} starts per step, {len(faults)} faults")
