"""The scheduler that Celery beat runs: schedules are in SQL, and so is what fell through."""

from __future__ import annotations

import logging
from typing import Any

from celery.beat import Scheduler

from segadmin.errors import SegadminError
from segadmin.jobs.reap import reap
from segadmin.jobs.schedules import tick
from segadmin.settings import get_settings
from segadmin.workflows.inbox_retry import retry_import
from segadmin_worker.client import ring_over
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
        ring = ring_over(settings)
        try:
            for job in tick(settings, ring):
                log.info("job %s (%s) was due", job.id, job.kind, extra={"action": "schedule", "job": job.id})
            if (retried := retry_import(settings, ring)) is not None:
                log.info(
                    "job %s (%s) is tried again", retried.id, retried.kind, extra={"action": "retry", "job": retried.id}
                )
            reaped = reap(settings, ring, lambda: queue_lengths(settings))
            if reaped.expired or reaped.failed:
                log.warning("reaped: %s", reaped, extra={"action": "reap"})
        except SegadminError as error:  # the database is away: the next tick looks again
            log.error("%s", error, extra={"action": "tick"})  # noqa: TRY400
        return settings.reap_seconds
