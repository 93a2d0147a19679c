"""How the queue fares with many small jobs: enqueuing them, draining them, and looking at what there is.

    python -m bench.queue [--against CHECKOUT] [--databases sqlite,postgresql]

- enqueued a second: requests for `compact`, checked, saved and rung for, from 1 and from 4 processes;
- drained a second: by one worker of two processes, with a beat, `compact` over a small lake that has nothing to join
  and a stage that does nothing;
- messages for each step: while nobody takes them and the reaper looks again and again, as under a long backlog;
- seconds of the list of jobs, of one job, and of `segadmin jobs list`, at 100,000 jobs.

Each is a process of its own; with ``--against`` another checkout of segadmin does the same. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from segadmin.jobs.attempt import Attempt, StageResult
from segadmin.jobs.registry import Request, Stage, Workflow, register, workflow_of

ROOT = Path(__file__).parents[1]
#: Seconds that enqueuing and draining are measured for, at most.
SECONDS = 12.0
QUEUED, BACKLOG, LISTED = 1000, 700, 100_000


def nothing(_: Attempt) -> StageResult:
    """Do nothing."""
    return StageResult()


register(Workflow("nothing", Request, (Stage("prepare", nothing),)))

from segadmin_worker.app import app  # noqa: E402  (after the registration, for Celery's -A)


def enqueued(settings: Any) -> dict[str, float]:
    """Return the jobs enqueued a second, from 1 process and from 4."""
    return {f"processes_{count}": round(_enqueue_from(settings, count), 1) for count in (1, 4)}


def _enqueue_from(settings: Any, processes: int) -> float:
    command = [sys.executable, "-m", "bench.queue", "--enqueue", str(SECONDS / 2)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(float(child.communicate()[0]) for child in children)


def enqueue_for(seconds: float) -> float:
    """Enqueue for some seconds; return the jobs a second, not counting the first, for which much is imported."""
    from segadmin.jobs.enqueue import ask
    from segadmin.settings import get_settings
    from segadmin_worker.client import dispatcher

    settings = get_settings()
    ask(settings, dispatcher(settings), "compact", {})
    time.sleep(max(0.0, 2.0 - time.process_time()))  # so that all begin together
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        ask(settings, dispatcher(settings), "compact", {})
        count += 1
    return count / (time.perf_counter() - started)


def drained(settings: Any) -> dict[str, float]:
    """Return the jobs drained a second, of each kind."""
    from tests.planted import plant
    from tests.servers import beat, worker

    plant(settings, users=20, weeks=2)
    rates = {}
    for kind in ("compact", "nothing"):
        with ExitStack() as stack:
            _save(settings, "nothing", 1)
            stack.enter_context(beat(settings, app="bench.queue"))
            stack.enter_context(worker(settings, app="bench.queue", concurrency=2))
            _wait(lambda: _done(settings) == _jobs(settings))  # both are up, and have imported what they need
            _save(settings, kind, QUEUED)
            before, started = _done(settings), time.perf_counter()
            _wait(lambda: _done(settings) == _jobs(settings), SECONDS)
            rates[kind] = round((_done(settings) - before) / (time.perf_counter() - started), 1)
            _cancel_all(settings)
    return rates


def dispatched(settings: Any) -> dict[str, float]:
    """Return the messages for each step, while nobody takes any for fifty times as long as a ring may take."""
    import redis

    from segadmin_worker.schedule import SqlScheduler

    client = redis.Redis(unix_socket_path=str(settings.redis_socket))
    before = _published(client)
    _save(settings, "nothing", BACKLOG)
    scheduler = SqlScheduler(app=app, lazy=True)
    until = time.monotonic() + 50 * settings.ring_seconds
    while time.monotonic() < until:
        scheduler.tick()
        time.sleep(0.2)
    messages = _published(client) - before
    client.close()
    return {"messages_per_step": round(messages / BACKLOG, 2)}


def listed(settings: Any) -> dict[str, float]:
    """Return the median seconds of lists at 100,000 jobs."""
    from segadmin.jobs import control

    _fill(settings, LISTED)
    command = [sys.executable, "-m", "segadmin_api.cli", "jobs", "list"]
    looks: dict[str, Callable[[], object]] = {
        "list": lambda: control.list_jobs(settings),
        "list_500": lambda: control.list_jobs(settings, 500),
        "show": lambda: control.view(settings, LISTED - 3),
        "command": lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
    }
    return {name: round(statistics.median(_timed(look) for _ in range(3)), 4) for name, look in looks.items()}


def _save(settings: Any, kind: str, count: int) -> None:
    """Enqueue jobs, and ring for them by one message each."""
    from segadmin.jobs.enqueue import enqueue
    from segadmin_worker.client import dispatcher

    messages: list[Any] = []
    for _ in range(count):
        enqueue(settings, messages.extend, kind, {})
    dispatcher(settings)(messages)


def _cancel_all(settings: Any) -> None:
    """Leave nothing to the next measurement."""
    from sqlalchemy import text

    from segadmin.storage.database import transaction

    with transaction(settings) as session:
        session.execute(text("UPDATE step SET state = 'cancelled' WHERE state IN ('ready', 'running')"))
        session.execute(text("UPDATE job SET state = 'cancelled' WHERE state IN ('queued', 'running')"))


def _done(settings: Any) -> int:
    return _count(settings, "SELECT count(*) FROM job WHERE state IN ('succeeded', 'cancelled')")


def _jobs(settings: Any) -> int:
    return _count(settings, "SELECT count(*) FROM job")


def _count(settings: Any, query: str) -> int:
    from sqlalchemy import text

    from segadmin.storage.database import engine

    with engine(settings).execution_options(segadmin_reading=True).connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def _published(client: Any) -> int:
    return int(client.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"])


def _fill(settings: Any, count: int) -> None:
    """Write jobs as a year leaves them: most succeeded, one in twenty failed, the last thousand wait."""
    from sqlalchemy import insert

    from segadmin.storage.database import transaction
    from segadmin.storage.records import Job, JobState, Step, StepState, utcnow

    moment = utcnow()
    jobs, steps = [], []
    for number in range(1, count + 1):
        state, step = JobState.SUCCEEDED, StepState.SUCCEEDED
        if number > count - 1000:
            state, step = (JobState.RUNNING, StepState.RUNNING) if number % 2 else (JobState.QUEUED, StepState.READY)
        elif number % 20 == 0:
            state, step = JobState.FAILED, StepState.FAILED
        kind = "compact" if number % 3 else "refresh"
        begun = None if state == JobState.QUEUED else moment
        ended = moment if state.over else None
        jobs.append({"id": number, "kind": kind, "options": {"labels": f"labels-{number % 7}"}, "state": state,
                     "created_at": moment, "started_at": begun, "finished_at": ended})  # fmt: skip
        steps += [{"job_id": number, "stage": stage.name, "queue": stage.queue, "after": list(stage.after),
                   "state": step, "started_at": begun, "finished_at": ended, "result": {}, "curve": []}
                  for stage in workflow_of(kind).stages]  # fmt: skip
    with transaction(settings) as session:
        session.execute(insert(Job), jobs)
        session.execute(insert(Step), steps)


def _timed(look: Callable[[], object]) -> float:
    started = time.perf_counter()
    look()
    return time.perf_counter() - started


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)


MEASURES: dict[str, Callable[[Any], dict[str, float]]] = {
    "enqueued_per_second": enqueued,
    "drained_per_second": drained,
    "rung": dispatched,
    "seconds_at_100000_jobs": listed,
}


def measure(name: str, database: str, checkout: Path, port: str) -> dict[str, float]:
    """Run one measurement on a fresh home, by the segadmin of ``checkout``."""
    with tempfile.TemporaryDirectory(prefix="segadmin-bench-") as home:
        rooms = [str(checkout.resolve() / room) for room in ("core", "plugins", "worker", "api")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*rooms, str(ROOT)]), "SEGADMIN_HOME": home}
        environment |= {"SEGADMIN_DATABASE_URL": port} | ({"SEGADMIN_RING_SECONDS": "0.4"} if name == "rung" else {})
        command = [sys.executable, "-m", "bench.queue", "--run", name]
        output = subprocess.run(
            command, check=True, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ).stdout
    print(f"{database:>10} {checkout.name:>10} {name}: {output.splitlines()[-1]}", flush=True)
    return json.loads(output.splitlines()[-1])  # type: ignore[no-any-return]


def run(name: str) -> None:
    """Measure in this process, with a Redis of its own, and print the figures."""
    from tests.servers import redis_server
    from tests.stores import empty_store

    from segadmin.settings import get_settings
    from segadmin.storage import database

    settings = get_settings()
    settings.root.mkdir(parents=True, exist_ok=True)
    if name == "drained_per_second":  # there the lake writes down the store
        database.upgrade(settings)
    else:
        empty_store(settings)
    with redis_server(settings):
        print(json.dumps(MEASURES[name](settings)))


def main() -> None:
    """Measure and print."""
    from tests.servers import fresh_database, postgres

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, which does the same")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--only", choices=MEASURES)
    parser.add_argument("--run", choices=MEASURES)
    parser.add_argument("--enqueue", type=float)
    options = parser.parse_args()
    if options.run or options.enqueue:
        print(enqueue_for(options.enqueue)) if options.enqueue else run(options.run)
        return
    checkouts = {"here": ROOT} | ({"there": options.against} if options.against else {})
    figures: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="segadmin-bench-"))
    try:
        with ExitStack() as stack:
            server = stack.enter_context(postgres(folder)) if "postgresql" in options.databases else ""
            for database in options.databases.split(","):
                for name in [options.only] if options.only else MEASURES:
                    for who, checkout in checkouts.items():
                        url = fresh_database(server) if database == "postgresql" else ""
                        figures.setdefault(database, {}).setdefault(who, {})[name] = measure(
                            name, database, checkout, url
                        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"bench": "queue", **figures}))


if __name__ == "__main__":
    main()
