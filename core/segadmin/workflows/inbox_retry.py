"""Trying the import of posted events again after it failed: what posted them was told that they are kept."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import col, select

from segadmin.errors import SegadminError
from segadmin.events.inbox import Inbox
from segadmin.jobs.control import retry
from segadmin.jobs.dispatch import Dispatch
from segadmin.jobs.enqueue import INBOX_KEY
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.storage.records import Job, JobState
from segadmin.storage.store import check_store

#: From one failure to the next attempt.
PAUSE = timedelta(minutes=1)


def failed_import(settings: Settings) -> Job | None:
    """Return the newest import of posted events, if it failed and what it should have imported still waits."""
    imports = (Job.kind == "ingest", col(Job.idempotency_key).startswith(INBOX_KEY))
    with reading(settings) as session:
        failed = select(Job).where(*imports, Job.state == JobState.FAILED).order_by(col(Job.id).desc())
        job = session.exec(failed.limit(1)).first()
        if job is None or session.exec(select(Job.id).where(*imports, col(Job.id) > job.id).limit(1)).first():
            return None
    return job if Inbox.of(settings).batches() else None


def retry_import(settings: Settings, dispatch: Dispatch) -> Job | None:
    """Retry :func:`failed_import` where store and secret are in order, a minute after it failed; return its job.

    A job fails at once where a retry of its step would meet the same error, such as a secret that is missing. Nobody
    but the next client to post would enqueue another one, and clients may have stopped.
    """
    job = failed_import(settings)
    if job is None or job.id is None or job.finished_at is None:
        return None
    with reading(settings) as session:
        if timedelta() <= now(session) - job.finished_at < PAUSE:  # before: the clock was set back
            return None
    try:
        check_store(settings)
        return retry(settings, dispatch, job.id).job
    except SegadminError:  # the job and ``segadmin doctor`` say what is wrong; or another beat was first
        return None
