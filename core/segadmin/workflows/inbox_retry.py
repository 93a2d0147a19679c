"""Importing posted events that no import is enqueued for: what posted them was told that they are kept."""

from __future__ import annotations

import time
from datetime import timedelta

from sqlmodel import col, select

from segadmin.errors import SegadminError
from segadmin.events.inbox import Inbox
from segadmin.jobs.control import retry
from segadmin.jobs.dispatch import Dispatch
from segadmin.jobs.enqueue import INBOX_KEY, enqueue
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.storage.records import Job, JobState
from segadmin.storage.store import check_store

#: From the end of an import to the next attempt.
PAUSE = timedelta(minutes=1)


def failed_import(settings: Settings) -> Job | None:
    """Return the newest import of posted events, if it failed and what it should have imported still waits."""
    job = _last_import(settings)
    return job if job is not None and job.state == JobState.FAILED else None


def retry_import(settings: Settings, dispatch: Dispatch) -> Job | None:
    """Import posted events that wait although the last import ended a minute ago; return the job.

    One that failed is retried where store and secret are in order: it fails at once where a retry of its step would
    meet the same error, such as a secret that is missing. After one that succeeded there is another: the process that
    stored them was killed before it enqueued theirs. Otherwise nobody but the next client to post would do so, and
    clients may have stopped.
    """
    job = _last_import(settings)
    if job is None or job.id is None or job.finished_at is None:
        return None
    with reading(settings) as session:
        if timedelta() <= now(session) - job.finished_at < PAUSE:  # before: the clock was set back
            return None
    try:
        check_store(settings)
        if job.state == JobState.FAILED:
            return retry(settings, dispatch, job.id).job
        if not _has_waited(settings):  # its import is about to be enqueued
            return None
        return enqueue(settings, dispatch, job.kind, job.options, idempotency_key=f"{INBOX_KEY}after-{job.id}").job
    except SegadminError:  # the job and ``segadmin doctor`` say what is wrong; or another beat was first
        return None


def _last_import(settings: Settings) -> Job | None:
    """Return the newest import of posted events, if it failed or succeeded and there are batches nevertheless."""
    with reading(settings) as session:
        imports = select(Job).where(Job.kind == "ingest", col(Job.idempotency_key).startswith(INBOX_KEY))
        job = session.exec(imports.order_by(col(Job.id).desc()).limit(1)).first()
    if job is None or job.state not in {JobState.FAILED, JobState.SUCCEEDED}:
        return None
    return job if Inbox.of(settings).batches() else None


def _has_waited(settings: Settings) -> bool:
    oldest = Inbox.of(settings).oldest()
    return oldest is not None and not 0 <= time.time() - oldest < PAUSE.total_seconds()
