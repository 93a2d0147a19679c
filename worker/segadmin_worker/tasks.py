"""One thin Celery task for every stage, so that monitors show what is being done."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

from celery import Task
from celery.signals import worker_process_init

from segadmin.database import dispose_after_fork
from segadmin.jobs.plans import STAGES
from segadmin.jobs.run import WorkerStopping, run_step
from segadmin.settings import get_settings
from segadmin_worker.app import app
from segadmin_worker.client import ring_over

_running = False


def _run(task: Task[..., None], step_id: int) -> None:
    global _running  # noqa: PLW0603  (the signal handler has no other way to know)
    settings = get_settings()
    _running = True
    try:
        run_step(settings, ring_over(settings), int(step_id), str(task.request.hostname))
    except WorkerStopping:
        os._exit(0)  # the pool is going down: nobody waits for an answer
    finally:
        _running = False


for _stage in STAGES:
    app.task(bind=True, name=f"segadmin.{_stage}")(partial(_run))


@worker_process_init.connect
def _prepare_child(**_: Any) -> None:
    """Give a forked pool process connections of its own, and let SIGTERM give its step back."""
    dispose_after_fork()
    signal.signal(signal.SIGTERM, _stop)


def _stop(_signal: int, _frame: object) -> None:
    if _running:
        raise WorkerStopping
    os._exit(0)
