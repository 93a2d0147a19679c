"""A small shop on one database, with actors for workers, and the faults that come over it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from sqlalchemy import create_engine, make_url, text
from sqlmodel import select

from segadmin.jobs import control
from segadmin.jobs.dispatch import is_due
from segadmin.jobs.reap import reap
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, ModelVersion, Step, utcnow
from segadmin_worker.client import dispatcher
from tests.faults import actor
from tests.planted import plant
from tests.servers import redis_server, wait_until

USERS = 60
LABELS = "value"
#: Short times, so that a lease runs out while one watches.
TIMES = {"LEASE": "1", "HEARTBEAT": "0.2", "BACKOFF": "0", "RING": "0.2", "REAP": "0.3"}


def furnish(settings: Settings) -> None:
    """Plant users and write down a model version that nothing loads."""
    plant(settings, users=USERS, weeks=3, buckets=16)  # many steps: each can be hit by a fault
    with transaction(settings) as session:
        job = Job(kind="chain", state="succeeded")  # type: ignore[arg-type]
        session.add(job)
        session.flush()
        version = ModelVersion(
            label_set=LABELS, backbone="rule", textualizer="mixed", segments=["low", "high"], folder="models/none",
            sha256="0" * 64, job_id=job.id or 0,
        )  # fmt: skip
        session.add(version)


@dataclass
class World:
    """A home, its database, and the environment of the processes that work there."""

    settings: Settings
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def ask(self, failpoint: str = "", **options: object) -> BaseProcess:
        """Enqueue a job in a process of its own."""
        return actor.ask(self._with(failpoint), {"labels": LABELS, **options})

    def act(self, step_id: int, failpoint: str = "") -> BaseProcess:
        """Run a step in a process of its own."""
        return actor.run(self._with(failpoint), step_id)

    def enqueue_job(self, failpoint: str = "", **options: object) -> int:
        """Enqueue a job and return its number."""
        process = self.ask(failpoint, **options)
        process.join(30)
        return max(line.job.id or 0 for line in control.list_jobs(self.settings))

    def due(self, stage: str = "") -> list[Step]:
        """Return the steps that a worker may claim now."""
        moment = utcnow()
        with transaction(self.settings) as session:
            steps = session.exec(select(Step).where(*is_due(moment)).order_by(Step.id)).all()  # type: ignore[arg-type]
        return [step for step in steps if not stage or step.stage == stage]

    def until(self, job_id: int, stage: str) -> list[Step]:
        """Run the steps before ``stage``; return those of it."""
        while not (steps := self.due(stage)):
            self._round(self.due())
            assert not control.view(self.settings, job_id).job.state.over
        return steps

    def drive(self, job_id: int, seconds: float = 60) -> None:
        """Be reaper and workers until a job is over: no message is needed for it."""
        deadline = time.monotonic() + seconds
        dispatch = dispatcher(self.settings)
        while not control.view(self.settings, job_id).job.state.over:
            assert time.monotonic() < deadline, control.view(self.settings, job_id)
            reap(self.settings, dispatch)
            self._round(self.due())
            time.sleep(0.05)

    def _round(self, steps: list[Step]) -> None:
        processes = [self.act(step.id or 0) for step in steps]
        for process in processes:
            process.join(60)
            assert process.exitcode == 0, process

    def _with(self, failpoint: str) -> dict[str, str]:
        return {**self.environment, "SEGADMIN_FAILPOINT": failpoint}

    @property
    def paused(self) -> Path:
        """Where a process at a ``pause`` says that it is there."""
        return self.settings.root / "paused"

    def arrived(self) -> None:
        """Wait for a process to come to its ``pause``."""
        wait_until(self.paused.exists, 20, "a process comes to the failpoint")

    @property
    def postgres(self) -> bool:
        return self.settings.database_url.startswith("postgresql")

    @contextmanager
    def redis(self) -> Iterator[None]:
        """Have a Redis from now on, which :meth:`kill_redis` may end."""
        with redis_server(self.settings) as self.process:
            yield

    def kill_redis(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.settings.redis_socket.unlink(missing_ok=True)

    @contextmanager
    def silent_redis(self) -> Iterator[None]:
        """Accept connections where Redis was, and never say anything."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.bind(str(self.settings.redis_socket))
            line.listen(16)
            yield
        self.settings.redis_socket.unlink(missing_ok=True)

    @contextmanager
    def database_down(self) -> Iterator[None]:
        """Keep everybody from the database: locked (SQLite), or cut off and refusing (PostgreSQL)."""
        if not self.postgres:
            lock = sqlite3.connect(self.settings.root / "segadmin.db", isolation_level=None, timeout=10)
            lock.execute("BEGIN EXCLUSIVE")
            yield
            lock.execute("ROLLBACK")
            lock.close()
            return
        name = make_url(self.settings.database_url).database
        server = create_engine(
            make_url(self.settings.database_url).set(database="postgres"), isolation_level="AUTOCOMMIT"
        )
        with server.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
            yield
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        server.dispose()


def stopped(process: BaseProcess) -> bool:
    """Whether a process is stopped by a signal."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
    return False


def copy_home(source: Path, target: Path) -> None:
    """Copy a furnished home."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-wal", "*-shm"))


def environment_of(home: Path, url: str) -> dict[str, str]:
    """Return the variables of a world."""
    times = {f"SEGADMIN_{name}_SECONDS": value for name, value in TIMES.items()}
    return {"SEGADMIN_HOME": str(home), "SEGADMIN_DATABASE_URL": url, "PATH": os.environ["PATH"], **times}
