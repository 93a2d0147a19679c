"""Calls about jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segadmin.storage.records import JobState
from segadmin_api.client.call import Call, once, several
from segadmin_api.schemas.jobs import BulkAnswer, Enqueued, Estimate, Job, JobDetails, JobFilter, LogLines, Retried
from segadmin_api.schemas.pages import Page

if TYPE_CHECKING:
    from segadmin.training.study import SearchSummary


def list_jobs(
    *,
    kind: str | Sequence[str] = (),
    state: str | Sequence[JobState | str] = (),
    before: int | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Page[Job]]:
    """Return a page of jobs, newest first: those older than ``before``; ``cursor`` is ``next`` of the page before."""
    query = {"kind": several(kind), "state": several(state), "before": before, "limit": limit, "cursor": cursor}
    return Call("GET", "/v1/jobs", Page[Job], query)


def show_job(job: int) -> Call[JobDetails]:
    """Return a job with its steps; raises :class:`segadmin.errors.JobNotFound`."""
    return Call("GET", f"/v1/jobs/{job}", JobDetails)


def enqueue(
    kind: str, options: Mapping[str, Any] | None = None, *, key: str | None = None, priority: int = 5
) -> Call[Enqueued]:
    """Ask for a job, once however often the request is repeated.

    Args:
        kind: of the job, such as ``refresh``.
        options: those of ``segadmin enqueue``, with ``_`` for ``-``.
        key: idempotency key; the same request with the same key makes no second job. Default: a new one.
        priority: 0 (lowest) to 9 (highest).
    """
    body = {"kind": kind, "options": dict(options or {}), "priority": priority}
    return Call("POST", "/v1/jobs", Enqueued, body=body, headers=once(key))


def estimate(kind: str, options: Mapping[str, Any] | None = None) -> Call[Estimate]:
    """Estimate what a job would take; nothing is enqueued. Arguments as of :func:`enqueue`."""
    body = {"kind": kind, "options": dict(options or {})}
    return Call("POST", "/v1/jobs/estimate", Estimate, body=body, is_idempotent=True)


def show_job_logs(job: int, *, step: int | None = None, stage: str | None = None, limit: int = 300) -> Call[LogLines]:
    """Return the last lines that the steps of a job have logged, or those of one step or stage."""
    return Call("GET", f"/v1/jobs/{job}/logs", LogLines, {"step": step, "stage": stage, "limit": limit})


def show_trials(job: int) -> Call[SearchSummary]:
    """Return the trials of a hyperparameter search, and the importance of each option."""
    from segadmin.training.study import SearchSummary  # not above: it imports much

    return Call("GET", f"/v1/jobs/{job}/trials", SearchSummary)


def cancel_job(job: int) -> Call[JobDetails]:
    """Cancel a job; raises :class:`segadmin.errors.InvalidTransition` if it is over."""
    return Call("POST", f"/v1/jobs/{job}/cancel", JobDetails)


def retry_job(job: int, *, from_start: bool = False) -> Call[Retried]:
    """Run what failed or was cancelled again; ``from_start``: everything."""
    return Call("POST", f"/v1/jobs/{job}/retry", Retried, body={"from_start": from_start})


def cancel_jobs(selected: JobFilter) -> Call[BulkAnswer]:
    """Cancel all jobs of a filter."""
    return Call("POST", "/v1/jobs/cancel", BulkAnswer, body=_filter(selected))


def retry_jobs(selected: JobFilter) -> Call[BulkAnswer]:
    """Retry the jobs of a filter."""
    return Call("POST", "/v1/jobs/retry", BulkAnswer, body=_filter(selected))


def _filter(selected: JobFilter) -> dict[str, Any]:
    return selected.model_dump(mode="json", exclude_defaults=True)
