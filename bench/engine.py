"""What the engine itself costs: a job of 10,000 steps that do nothing, on SQLite and on PostgreSQL.

Measures the enqueue (one transaction, and rings for the first thousand), a reaper's look when all are rung for, and
how fast two workers of one process each drain 1,000. Its peer is bare Celery on the same Redis: 10,000 messages sent,
and as many empty tasks run by the same two workers.

Last line: JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Request, Stage, Workflow, register

STEPS, DRAINED = 10_000, 1000


def noop(_: Attempt) -> StageResult:
    """Do nothing."""
    return StageResult()


register(Workflow("noop", Request, (Stage("textualize", noop, per_buckets=True),)))

from segadmin_worker.app import app  # noqa: E402  (after the registration, for Celery's -A)


@app.task(name="segadmin.bare")
def bare(_: int) -> None:
    """Do nothing, as bare Celery does it."""


def main() -> None:
    from tests.servers import postgres

    folder = Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
    figures_by_database: dict[str, Any] = {}
    try:
        figures_by_database["sqlite"] = measure(folder / "sqlite", "")
        (folder / "server").mkdir()
        with postgres(folder / "server") as url:
            figures_by_database["postgresql"] = measure(folder / "pg", url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for database, figures in figures_by_database.items():
        print(database, json.dumps(figures))
    print(json.dumps({"bench": "engine", "steps": STEPS, **figures_by_database}))


def measure(home: Path, url: str) -> dict[str, Any]:
    """Return the figures on one database."""
    import redis
    from tests.servers import redis_server, worker

    from segadmin.jobs.control import cancel
    from segadmin.jobs.dispatch import AT_ONCE
    from segadmin.jobs.enqueue import enqueue
    from segadmin.jobs.reap import reap
    from segadmin_worker.client import dispatcher

    with settings_of(home, url) as settings, redis_server(settings), ExitStack() as stack:
        dispatch = dispatcher(settings)
        started = time.perf_counter()
        big = enqueue(settings, dispatch, "noop", {}).job.id or 0
        enqueued = time.perf_counter() - started
        for _ in range(STEPS // AT_ONCE):
            reap(settings, lambda _: None)
        looks = []
        for _ in range(5):
            started = time.perf_counter()
            reap(settings, dispatch)
            looks.append(time.perf_counter() - started)
        client = redis.Redis(unix_socket_path=str(settings.redis_socket))
        sent = bare_send(settings, STEPS)
        client.flushall()
        for _ in range(2):
            stack.enter_context(worker(settings, app="bench.engine", concurrency=1))
        bare_send(settings, 20)  # both are up when these are gone
        wait_for(lambda: client.llen("cpu:3") == 0)
        started = time.perf_counter()
        bare_send(settings, DRAINED)
        wait_for(lambda: client.llen("cpu:3") == 0 and client.hlen("unacked") == 0)
        bare = DRAINED / (time.perf_counter() - started)
        before = done(settings, big)
        started = time.perf_counter()
        ring_all(settings, dispatch, big)
        wait_for(lambda: done(settings, big) >= before + DRAINED)
        drained = (done(settings, big) - before) / (time.perf_counter() - started)
        cancel(settings, dispatch, big)
        errors = len(re.findall(r"database is locked|deadlock|could not serialize", (home / "worker.log").read_text()))
        client.close()
    return {
        "enqueue_seconds": round(enqueued, 2),
        "enqueue_ratio_to_bare_sends": round(enqueued / sent, 2),
        "reap_ms": round(sorted(looks)[2] * 1000, 1),
        "steps_per_second": round(drained, 1),
        "ratio_to_bare_tasks": round(drained / bare, 3),
        "lock_errors": errors,
    }


@contextmanager
def settings_of(home: Path, url: str) -> Iterator[Any]:
    """Set up an empty home whose store has more buckets than there will be steps."""
    from tests.stores import empty_store

    from segadmin.settings import get_settings
    from segadmin.storage import database

    wanted = {"HOME": str(home), "DATABASE_URL": url, "FAN_OUT": str(STEPS), "RING_SECONDS": "300"}
    os.environ |= {f"SEGADMIN_{name}": value for name, value in wanted.items()}
    get_settings.cache_clear()
    settings = get_settings()
    home.mkdir(parents=True)
    empty_store(settings, buckets=16384)
    yield settings
    database.engine(settings).dispose()


def bare_send(settings: Any, count: int) -> float:
    """Send messages of a task that does nothing, as bare Celery does; return the seconds it took."""
    from segadmin_worker.client import connected

    started = time.perf_counter()
    with connected(settings) as (client, connection), client.amqp.Producer(connection) as producer:
        for number in range(count):
            client.send_task("segadmin.bare", args=[number], queue="cpu", priority=4, producer=producer)
    return time.perf_counter() - started


def ring_all(settings: Any, dispatch: Any, job: int) -> None:
    """Ring for as many steps as the engine does at a time."""
    from sqlmodel import select

    from segadmin.jobs.dispatch import dispatch_messages, messages_for
    from segadmin.storage.database import transaction
    from segadmin.storage.records import Step, StepState

    with transaction(settings) as session:
        steps = session.exec(select(Step.id).where(Step.job_id == job, Step.state == StepState.READY)).all()
        messages = messages_for(session, [step for step in steps if step is not None])
    dispatch_messages(settings, dispatch, messages)


def done(settings: Any, job: int) -> int:
    """Return how many steps of a job are done."""
    from sqlmodel import func, select

    from segadmin.storage.database import transaction
    from segadmin.storage.records import Step, StepState

    with transaction(settings) as session:
        return session.exec(
            select(func.count()).select_from(Step).where(Step.job_id == job, Step.state == StepState.SUCCEEDED)
        ).one()


def wait_for(condition: Any) -> None:
    """Wait, looking rarely enough not to disturb."""
    deadline = time.monotonic() + 300
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the workers do not drain the queue")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
