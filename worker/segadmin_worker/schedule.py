"""The scheduler that Celery beat runs: schedules and lost steps are read from SQL."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import Any

from celery.beat import Scheduler

from segadmin.errors import SegadminError
from segadmin.jobs.dispatch import Dispatch
from segadmin.jobs.due_slots import tick
from segadmin.jobs.reap import reap
from segadmin.settings import Settings, get_settings
from segadmin.workflows.deliver import enqueue_deliveries
from segadmin.workflows.inbox_retry import retry_import
from segadmin.workflows.live import enqueue_refreshes, shortest_objective
from segadmin.workflows.objectives import report_objectives
from segadmin_worker.client import dispatcher
from segadmin_worker.inspection import queue_lengths
from segadmin_worker.state import note_look

log = logging.getLogger(__name__)
#: Longest pause between two ticks while a schedule has a freshness objective: imports wait for them.
_LIVE_SECONDS = 0.5


class SqlScheduler(Scheduler):
    """Enqueues due schedules and reaps lost steps, every ``SEGADMIN_REAP_SECONDS`` or, with live segments, more often.

    It does this in its own process instead of sending tasks. That needs no broker, so due jobs are saved even while
    Redis is down, and Flower lists only the steps of jobs. Any number of beats may run.
    """

    _report_at = 0.0

    def setup_schedule(self) -> None:
        """Do nothing: SQL is read at every tick."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue and reap what is due; return the seconds until the next tick."""
        settings = get_settings()
        note_look(settings)
        dispatch = dispatcher(settings)
        try:
            tick(settings, dispatch)
            if (retried := retry_import(settings, dispatch)) is not None:
                facts = {"action": "retry", "job": retried.id, "kind": retried.kind}
                log.info("job is tried again", extra=facts)
            for job in enqueue_deliveries(settings, dispatch):
                log.info("job enqueued", extra={"action": "enqueue", "job": job.id, "kind": job.kind})
            reaped = reap(settings, dispatch, lambda: queue_lengths(settings))
            if reaped.expired or reaped.failed:
                log.warning("reaped", extra={"action": "reap", **asdict(reaped)})
        except SegadminError as error:  # the database is away: the next tick looks again
            log.error("%s", error, extra={"action": "tick"})  # noqa: TRY400
            return settings.reap_seconds
        return self._keep_live(settings, dispatch)

    def _keep_live(self, settings: Settings, dispatch: Dispatch) -> float:
        """Enqueue the refreshes for which events wait, and report objectives; return the seconds until the next tick.

        An error of these, such as a store that is not mounted, keeps beat from nothing else.
        """
        pause = settings.reap_seconds
        try:
            enqueue_refreshes(settings, dispatch)
            if shortest_objective(settings) is not None:
                pause = min(pause, _LIVE_SECONDS)
            if time.monotonic() >= self._report_at:
                self._report_at = time.monotonic() + settings.reap_seconds
                report_objectives(settings)
        except SegadminError as error:
            log.error("%s", error, extra={"action": "live"})  # noqa: TRY400
        except Exception:
            log.exception("live segments could not be looked after", extra={"action": "live"})
        return pause
