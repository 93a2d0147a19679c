"""One process that runs one step, or enqueues one job: real, and cheap enough to be killed by the hundred."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.process import BaseProcess
from typing import Any

import tests.faults.chain  # noqa: F401  (adds the job kind)
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.run import WorkerStopping, run_step
from segadmin.settings import get_settings
from segadmin.storage.database import dispose_after_fork
from segadmin_worker.client import dispatcher

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.actor"])


def run(environment: dict[str, str], step_id: int) -> BaseProcess:
    """Start a process that runs a step."""
    return _start(_run, environment, step_id)


def ask(environment: dict[str, str], options: dict[str, Any]) -> BaseProcess:
    """Start a process that enqueues a job, as the CLI does."""
    return _start(_ask, environment, options)


def _start(what: Any, *arguments: Any) -> BaseProcess:
    process = _CONTEXT.Process(target=what, args=arguments, daemon=True)
    process.start()
    return process


def _enter(environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("SEGADMIN_")]:
        del os.environ[name]
    os.environ.update(environment)
    get_settings.cache_clear()
    dispose_after_fork()


def _run(environment: dict[str, str], step_id: int) -> None:
    from segadmin_worker.tasks import _stoppable

    _enter(environment)
    settings = get_settings()
    try:
        with _stoppable():
            run_step(settings, dispatcher(settings), step_id, f"actor-{os.getpid()}")
    except WorkerStopping:
        os._exit(0)


def _ask(environment: dict[str, str], options: dict[str, Any]) -> None:
    _enter(environment)
    settings = get_settings()
    enqueue(settings, dispatcher(settings), "chain", options, idempotency_key=options.get("key"))
