"""``/jobs``: what workers do, and what people do about it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs import bulk, control
from segadmin.jobs.counts import count_by_state
from segadmin.jobs.registry import workflows
from segadmin.jobs.selection import JobSelection
from segadmin.jobs.step_log import log_lines
from segadmin.settings import Settings
from segadmin.storage.database import reading, row_number
from segadmin.storage.records import JobState, Scope
from segadmin_api.dashboard import job_list, jobs
from segadmin_api.dashboard.job_list import JobList
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_api.http.v1.job_checks import check_asked, retry_problem
from segadmin_api.schemas.jobs import MOST_NUMBERS
from segadmin_worker.client import dispatcher

#: Number of jobs on a page, and longest name of a kind.
_PAGE_SIZE, _LONGEST = 50, 200
router = pages_router()
forms = forms_router()
OperatorForm = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]
Kinds = Annotated[list[str], Query(alias="kind", max_length=20)]
States = Annotated[list[str], Query(alias="state", max_length=10)]


@router.get("/jobs")
def list_jobs(
    request: Request,
    reader: PageReader,
    kinds: Kinds = [],  # noqa: B006
    states: States = [],  # noqa: B006
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> HTMLResponse:
    """Show the newest jobs of a filter, or the newest of those that are older than the job ``before``."""
    settings, selection, size = settings_of(request), _selection(kinds, states), reader.rows_at_once(_PAGE_SIZE)
    lines = control.list_jobs(settings, size, before=before, selection=selection)
    with reading(settings) as session:
        counts = count_by_state(session, selection)
    shown = JobList(selection, _kinds(settings, selection), counts, before, size)
    return html_response(job_list.list_page(lines, shown, reader))


@router.get("/jobs/{job}")
def show_job(request: Request, job: Number, reader: PageReader) -> HTMLResponse:
    """Show a job with its stages and curves."""
    settings = settings_of(request)
    load_plugins(settings)  # they may bring kinds
    view = control.view(settings, job)
    return html_response(jobs.page(view, jobs.search_of(settings, view.job), online=True, reader=reader))


@router.get("/jobs/{job}/logs")
def show_logs(
    request: Request,
    job: Number,
    reader: PageReader,
    stage: Annotated[str, Query(max_length=_LONGEST)] = "",
    step: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> HTMLResponse:
    """Show the last lines that the steps of a job have logged."""
    settings = settings_of(request)
    lines = log_lines(settings, job, step=step, stage=stage or None)
    return html_response(jobs.logs_page(control.view(settings, job), lines, stage, step, reader))


@forms.post("/jobs/bulk")
def change_jobs(request: Request, form: OperatorForm) -> HTMLResponse:
    """Cancel or retry the chosen jobs, or all that match a filter, and show with which it was not possible."""
    settings, (what, _, everything) = settings_of(request), form.text("do", "cancel").partition(" ")
    if what not in {"cancel", "retry"}:
        raise HTTPException(422, f"do: {what!r} is neither cancel nor retry.")
    selection = _filtered(form) if everything else JobSelection(numbers=_numbers(form))
    if not everything and not selection.numbers:
        raise HTTPException(422, text_of(reader_of(request), "No job was chosen. Go back, and choose some."))
    if what == "cancel":
        result = bulk.cancel_all(settings, dispatcher(settings), selection)
    else:
        refusal = partial(retry_problem, request)
        result = bulk.retry_all(settings, dispatcher(settings), selection, MOST_NUMBERS, refusal=refusal)
    return html_response(job_list.bulk_page(what, result, form.back, reader_of(request)))


@forms.post("/jobs/{job}/cancel")
def cancel_job(request: Request, job: Number, form: OperatorForm) -> RedirectResponse:
    """Cancel a job."""
    settings = settings_of(request)
    control.cancel(settings, dispatcher(settings), job)
    return go_to(f"/jobs/{job}", text_of(reader_of(request), "The job is cancelled."))


@forms.post("/jobs/{job}/retry")
def retry_job(request: Request, job: Number, form: OperatorForm) -> RedirectResponse:
    """Retry a job; with ``from_start`` also the steps that succeeded."""
    settings = settings_of(request)
    check_asked(request, control.view(settings, job).job)
    from_start = form.text("from_start") == "true"
    control.retry(settings, dispatcher(settings), job, from_start=from_start)
    return go_to(f"/jobs/{job}", text_of(reader_of(request), "The job continues."))


def _selection(kinds: list[str], states: list[str], last: int | None = None) -> JobSelection:
    """Return the jobs of a filter; what is empty stands for all.

    Raises:
        HTTPException: 422, there is no such state.
    """
    known = {str(state): state for state in JobState}
    if unknown := [state for state in states if state and state not in known]:
        raise HTTPException(422, f"state: {unknown[0]!r} is none of {', '.join(known)}.")
    chosen = tuple(dict.fromkeys(kind[:_LONGEST] for kind in kinds if kind))
    return JobSelection(chosen, tuple(dict.fromkeys(known[state] for state in states if state)), last=last)


def _filtered(form: Form) -> JobSelection:
    """Return the jobs of the filter of a form, without those that came after its page was shown."""
    return _selection(form.texts("kind"), form.texts("state"), row_number(form.text("last")))


def _numbers(form: Form) -> tuple[int, ...]:
    numbers = (row_number(text) for text in form.texts("job"))
    return tuple(dict.fromkeys(number for number in numbers if number is not None))


def _kinds(settings: Settings, selection: JobSelection) -> list[str]:
    """Return all kinds, also of plugins, and those of the filter."""
    load_plugins(settings)
    return sorted({*workflows(), *selection.kinds})
