"""``/v1/jobs``: what workers do: list, show, enqueue, cancel and retry."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Body, Path, Query, Request, Response

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs import bulk, control, step_log
from segadmin.jobs import estimate as estimates
from segadmin.jobs.control import JobLine, JobView
from segadmin.jobs.enqueue import ask
from segadmin.jobs.selection import JobSelection
from segadmin.storage.records import JobState, Scope
from segadmin.training.study import SearchSummary
from segadmin.urls import mask_all
from segadmin.workflows.tune import trials_of
from segadmin_api.formatting import subject
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.job_checks import check_asked, check_kind, check_options, retry_problem
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import IdempotencyKey, allow, changes, enqueues, router, settings_of
from segadmin_api.schemas.jobs import (
    MOST_FAILURES,
    MOST_NUMBERS,
    BlockingLock,
    BulkAnswer,
    BulkFailure,
    Enqueued,
    Estimate,
    EstimateRequest,
    Job,
    JobDetails,
    JobFilter,
    JobRequest,
    LogLine,
    LogLines,
    LostOutput,
    Name,
    Retried,
    RetryRequest,
    Step,
)
from segadmin_api.schemas.pages import Page
from segadmin_worker.client import dispatcher

jobs = router("/jobs", "jobs")
JobNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of a job.")]


@jobs.get("", dependencies=[allow(Scope.VIEWER)])
def list_jobs(
    request: Request,
    pages: Pages,
    kind: Annotated[list[Name], Query(max_length=20, description="Only these kinds; may be repeated.")] = [],  # noqa: B006
    state: Annotated[list[JobState], Query(max_length=5, description="Only in these states; may be repeated.")] = [],  # noqa: B006
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only jobs older than this one.")] = None,
) -> Page[Job]:
    """List jobs, newest first."""
    position = pages.after(int)
    selection = JobSelection(tuple(kind), tuple(state))
    before = before if position is None else position[0]
    lines = control.list_jobs(settings_of(request), pages.limit + 1, before=before, selection=selection)
    return pages.page(lines, shown, lambda line: [line.job.id])


@jobs.post("", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=enqueues())
def enqueue(
    request: Request, response: Response, wanted: JobRequest, idempotency_key: IdempotencyKey = None
) -> Enqueued:
    """Ask for a job. It is saved before the answer; 200 instead of 201 if it was asked for before with this key."""
    settings = settings_of(request)
    check_kind(request, wanted.kind)
    check_options(request, wanted.options)
    load_plugins(settings)  # they may bring kinds
    with request_errors(in_body=True):
        done = ask(
            settings,
            dispatcher(settings),
            wanted.kind,
            wanted.options,
            idempotency_key=idempotency_key,
            priority=wanted.priority,
        )
    if not done.created:
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{done.job.id}"
    return Enqueued(job=done.job.id or 0, kind=done.job.kind, created=done.created, dispatched=done.dispatched)


@jobs.post("/estimate", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def estimate(request: Request, wanted: EstimateRequest) -> Estimate:
    """Estimate what a job would take, from past jobs of like options; nothing is enqueued."""
    settings = settings_of(request)
    check_kind(request, wanted.kind)
    load_plugins(settings)
    with request_errors(in_body=True):
        return Estimate.model_validate(estimates.estimate(settings, wanted.kind, wanted.options))


@jobs.post("/cancel", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def cancel_jobs(request: Request, selected: JobFilter) -> BulkAnswer:
    """Cancel all jobs of a filter; without `states` and `numbers`, those that are not over."""
    settings = settings_of(request)
    return _bulk_answer(bulk.cancel_all(settings, dispatcher(settings), _selection(selected)))


@jobs.post("/retry", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def retry_jobs(request: Request, selected: JobFilter) -> BulkAnswer:
    """Retry the jobs of a filter, the oldest thousand; without `states` and `numbers`, those that can be retried."""
    settings = settings_of(request)
    refusal = partial(retry_problem, request)
    result = bulk.retry_all(settings, dispatcher(settings), _selection(selected), MOST_NUMBERS, refusal=refusal)
    return _bulk_answer(result)


@jobs.get("/{job}", dependencies=[allow(Scope.VIEWER)])
def show_job(request: Request, job: JobNumber) -> JobDetails:
    """Show a job and its steps."""
    return details(control.view(settings_of(request), job))


@jobs.get("/{job}/logs", dependencies=[allow(Scope.VIEWER)])
def show_logs(
    request: Request,
    job: JobNumber,
    step: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only this step.")] = None,
    stage: Annotated[Name | None, Query(description="Only this stage.")] = None,
    limit: Annotated[int, Query(ge=1, le=step_log.MOST, description="Most lines, the last ones.")] = step_log.KEPT,
) -> LogLines:
    """Show the last lines that the steps of a job have logged; of each step, the last few hundred are kept."""
    lines = step_log.log_lines(settings_of(request), job, step=step, stage=stage, limit=limit)
    return LogLines(items=list(map(LogLine.model_validate, lines)))


@jobs.get("/{job}/trials", dependencies=[allow(Scope.VIEWER)])
def show_trials(request: Request, job: JobNumber) -> SearchSummary:
    """Show the trials of a hyperparameter search (a job of the kind `tune`), and the importance of each option."""
    return trials_of(settings_of(request), job)


@jobs.post("/{job}/cancel", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def cancel_job(request: Request, job: JobNumber) -> JobDetails:
    """Cancel a job; a running step stops within seconds, and completed steps are kept."""
    settings = settings_of(request)
    control.cancel(settings, dispatcher(settings), job)
    return details(control.view(settings, job))


@jobs.post("/{job}/retry", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def retry_job(request: Request, job: JobNumber, how: Annotated[RetryRequest | None, Body()] = None) -> Retried:
    """Run what failed or was cancelled again; results of the other steps are kept."""
    settings = settings_of(request)
    check_asked(request, control.view(settings, job).job)
    from_start = how is not None and how.from_start
    retried = control.retry(settings, dispatcher(settings), job, from_start=from_start)
    lost = [LostOutput.model_validate(output) for output in retried.lost]
    return Retried(job=shown(control.view(settings, job)), lost=lost)


def shown(line: JobLine) -> Job:
    """Return a job as a list shows it."""
    return Job(**_facts(line))


def details(view: JobView) -> JobDetails:
    """Return a job with its steps."""
    steps = [Step.model_validate(mask_all(step.model_dump())) for step in view.steps]
    return JobDetails(**_facts(view), steps=steps)


def _facts(line: JobLine) -> dict[str, object]:
    left = line.progress.seconds_left
    facts: dict[str, object] = mask_all(line.job.model_dump(exclude={"asked"}))
    return facts | {
        "subject": subject(line.job),
        "progress": round(line.progress.done, 4),
        "seconds_left": None if left is None else round(left),
        "waits_for": None if line.waits_for is None else BlockingLock.model_validate(line.waits_for),
    }


def _selection(selected: JobFilter) -> JobSelection:
    return JobSelection(
        tuple(selected.kinds), tuple(selected.states), tuple(selected.numbers), selected.first, selected.last
    )


def _bulk_answer(result: bulk.BulkResult) -> BulkAnswer:
    convert = partial(BulkFailure.model_validate, from_attributes=True)
    failures = list(map(convert, result.failures[:MOST_FAILURES]))
    return BulkAnswer(done=result.done, failed=len(result.failures), failures=failures)
