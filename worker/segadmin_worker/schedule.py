"""The scheduler that Celery beat runs: schedules are in SQL, and so is what fell through."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from celery.beat import Scheduler

from segadmin.errors import SegadminError
from segadmin.jobs.reap import reap
from segadmin.jobs.schedules import tick
from segadmin.settings import get_settings
from segadmin.workflows.inbox_retry import retry_import
from segadmin_worker.client import dispatcher
from segadmin_worker.inspection import queue_lengths

log = logging.getLogger(__name__)


class SqlScheduler(Scheduler):
    """Enqueues due schedules and reaps, every ``SEGADMIN_REAP_SECONDS``.

    It works in this process instead of sending itself tasks: that needs no broker, so what is due is saved
    even while Redis is down, and it leaves Flower's list to real work. Any number of beats may run.
    """

    def setup_schedule(self) -> None:
        """Read nothing: SQL is read at every tick."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due and return the seconds until the next look."""
        settings = get_settings()
        dispatch = dispatcher(settings)
        try:
            tick(settings, dispatch)
            if (retried := retry_import(settings, dispatch)) is not None:
                facts = {"action": "retry", "job": retried.id, "kind": retried.kind}
                log.info("job is tried again", extra=facts)
            reaped = reap(settings, dispatch, lambda: queue_lengths(settings))
            if reaped.expired or reaped.failed:
                log.warning("reaped", extra={"action": "reap", **asdict(reaped)})
        except SegadminError as error:  # the database is away: the next tick looks again
            log.error("%s", error, extra={"action": "tick"})  # noqa: TRY400
        return settings.reap_seconds
