"""``/jobs``: what workers do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from segadmin.jobs import control
from segadmin_api.dashboard import jobs
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, pages_router, settings_of
from segadmin_api.http.readers import PageReader

#: Number of jobs on a page.
_PAGE_SIZE = 50
router = pages_router()


@router.get("/jobs")
def list_jobs(
    request: Request, reader: PageReader, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> HTMLResponse:
    """Show the newest jobs, or the newest of those that are older than the job ``before``."""
    lines = control.list_jobs(settings_of(request), _PAGE_SIZE, before=before)
    return html_response(jobs.list_page(lines, newest=before is None, full=len(lines) == _PAGE_SIZE, reader=reader))


@router.get("/jobs/{job}")
def show_job(request: Request, job: Number, reader: PageReader) -> HTMLResponse:
    """Show a job with its curves."""
    settings = settings_of(request)
    return html_response(jobs.page(settings, control.view(settings, job), online=True, reader=reader))
