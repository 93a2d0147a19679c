"""One thin Celery task per stage, so that monitors show which stages run."""

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

from segadmin.device_memory import device_has_failed, release_memory
from segadmin.errors import SegadminError
from segadmin.jobs.reap import lost_process
from segadmin.jobs.registry import stage_names
from segadmin.jobs.run import WorkerStopping, run_step
from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from segadmin.storage.database import dispose_after_fork
from segadmin.workflows import live
from segadmin_worker.app import app
from segadmin_worker.client import dispatcher

log = logging.getLogger(__name__)
#: With ``REMAP_SIGTERM`` the pool stops its processes by SIGQUIT.
_STOPPING = (signal.SIGTERM, signal.SIGQUIT)
#: Pause between two garbage collections of all objects, in seconds.
_FULL_COLLECTION_SECONDS = 60.0
#: Exit code of a process whose GPU failed; ``EX_UNAVAILABLE`` of sysexits.h.
_LOST_DEVICE = 69


class StepFailed(Exception):
    """Shows a failed attempt as failed in Celery's monitors; it is recorded in SQL already."""


def _run(task: Task[..., None], step_id: int) -> None:
    settings = get_settings()
    try:
        with _stoppable():
            failed = run_step(settings, dispatcher(settings), int(step_id), str(task.request.hostname))
    except WorkerStopping:
        os._exit(0)  # the pool shuts down, and no caller waits for a result
    except SegadminError as error:  # the database is damaged or away, so nothing of the step can be recorded
        log.error("%s", error, extra={"action": "unrecorded", "step": step_id})  # noqa: TRY400
        raise StepFailed("the database is damaged or away; why: segadmin doctor") from None
    if device_has_failed():  # the attempt is recorded; the pool starts another process
        log.error("the GPU does not answer; this process ends", extra={"action": "device", "step": step_id})
        os._exit(_LOST_DEVICE)
    _follow(settings, str(task.name))
    _garbage.freeze()
    if failed is not None:
        raise StepFailed(failed)


def _follow(settings: Settings, task_name: str) -> None:
    """Enqueue the refreshes for which events wait, where a step may have brought some or was in the way of one."""
    if task_name.rpartition(".")[2] not in live.STAGES:
        return
    try:
        live.enqueue_refreshes(settings, dispatcher(settings))
    except SegadminError:  # beat looks again
        log.exception("could not look for events that wait", extra={"action": "live"})


class _Garbage:
    """Excludes long-lived objects, such as modules and caches, from the garbage collection at the end of each step.

    Traversing those of Polars and Delta Lake takes many times as long as a small step. Once a minute all objects are
    collected, because excluded ones may be garbage by then, such as a model that a plugin kept for a while.
    """

    def __init__(self) -> None:
        self._collected_at = 0.0

    def freeze(self) -> None:
        """Exclude all current objects from later collections."""
        if time.monotonic() - self._collected_at > _FULL_COLLECTION_SECONDS:
            gc.unfreeze()
            release_memory()
            self._collected_at = time.monotonic()
        gc.freeze()


_garbage = _Garbage()
for _stage in stage_names():
    app.task(bind=True, name=f"segadmin.{_stage}", throws=(StepFailed,))(_run)


@worker_process_init.connect
def _prepare_child(**_: Any) -> None:
    """Give a forked pool process its own database connections."""
    dispose_after_fork()


@task_failure.connect
def _return_lost_step(sender: Task[..., None], exception: BaseException, args: Sequence[Any], **_: Any) -> None:
    """Return the step of a pool process that crashed to the queue at once; called in the main process."""
    if not isinstance(exception, WorkerLostError):
        return
    settings = get_settings()
    try:
        reason = f"its process died ({str(exception).partition(' Job:')[0].rstrip('.')})"
        lost_process(settings, dispatcher(settings), int(args[0]), str(sender.request.hostname), reason)
    except SegadminError:
        log.exception(
            "could not return the step; waiting for the lease to expire", extra={"action": "death", "step": args[0]}
        )
    finally:
        database.engine(settings).dispose()  # the next child must not inherit an open connection


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the pool's stop signal into :class:`WorkerStopping` in the running step.

    Installed around each step, because the pool installs its own handlers after all start-up signals of Celery.
    """
    previous = [signal.signal(number, _stop) for number in _STOPPING]
    try:
        yield
    finally:
        for number, handler in zip(_STOPPING, previous, strict=True):
            signal.signal(number, handler)


def _stop(_signal: int, _frame: object) -> None:
    for number in _STOPPING:  # the pool sends several; further ones must not interrupt the return of the step
        signal.signal(number, signal.SIG_IGN)
    raise WorkerStopping
