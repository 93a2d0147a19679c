"""One thin Celery task for every stage, so that monitors show what is being done."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Task
from celery.signals import task_failure, worker_process_init

from segadmin.device_memory import release_memory
from segadmin.errors import SegadminError
from segadmin.jobs.reap import lost_process
from segadmin.jobs.registry import stage_names
from segadmin.jobs.run import WorkerStopping, run_step
from segadmin.settings import get_settings
from segadmin.storage import database
from segadmin.storage.database import dispose_after_fork
from segadmin_worker.app import app
from segadmin_worker.client import dispatcher

log = logging.getLogger(__name__)
#: With ``REMAP_SIGTERM`` the pool stops its processes by SIGQUIT.
_STOPPING = (signal.SIGTERM, signal.SIGQUIT)
#: How often everything is looked through for garbage.
_LOOK_SECONDS = 60.0


class StepFailed(Exception):
    """Shows a failed attempt as failed in Celery's monitors; SQL knows already."""


def _run(task: Task[..., None], step_id: int) -> None:
    settings = get_settings()
    try:
        with _stoppable():
            failed = run_step(settings, dispatcher(settings), int(step_id), str(task.request.hostname))
    except WorkerStopping:
        os._exit(0)  # the pool is going down: nobody waits for an answer
    _garbage.leave_out()
    if failed is not None:
        raise StepFailed(failed)


class _Garbage:
    """Leaves what steps left, modules and caches, out of the look for garbage that each step ends with.

    Going through those of Polars and Delta Lake takes many times as long as a small step. Once a minute it is done all
    the same: some of what was left out may be garbage by then, such as a model that a plugin kept for a while.
    """

    def __init__(self) -> None:
        self._looked_at = 0.0

    def leave_out(self) -> None:
        """Leave out what there is now."""
        if time.monotonic() - self._looked_at > _LOOK_SECONDS:
            gc.unfreeze()
            release_memory()
            self._looked_at = time.monotonic()
        gc.freeze()


_garbage = _Garbage()
for _stage in stage_names():
    app.task(bind=True, name=f"segadmin.{_stage}", throws=(StepFailed,))(_run)


@worker_process_init.connect
def _prepare_child(**_: Any) -> None:
    """Give a forked pool process database connections of its own."""
    dispose_after_fork()


@task_failure.connect
def _notice_death(sender: Task[..., None], exception: BaseException, args: Sequence[Any], **_: Any) -> None:
    """Give a step back at once whose pool process died; called in the main process, which saw it die."""
    if not isinstance(exception, WorkerLostError):
        return
    settings = get_settings()
    try:
        reason = f"its process died ({str(exception).partition(' Job:')[0].rstrip('.')})"
        lost_process(settings, dispatcher(settings), int(args[0]), str(sender.request.hostname), reason)
    except SegadminError:
        log.exception("the lease will have to run out", extra={"action": "death", "step": args[0]})
    finally:
        database.engine(settings).dispose()  # the next child must not inherit an open connection


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the pool's stop signal into :class:`WorkerStopping` in the running step.

    Installed around each step, because the pool sets its own handlers after every start-up signal of Celery's.
    """
    before = [signal.signal(one, _stop) for one in _STOPPING]
    try:
        yield
    finally:
        for one, handler in zip(_STOPPING, before, strict=True):
            signal.signal(one, handler)


def _stop(_signal: int, _frame: object) -> None:
    for one in _STOPPING:  # the pool asks several times; once is enough, and the step must be given back in peace
        signal.signal(one, signal.SIG_IGN)
    raise WorkerStopping
