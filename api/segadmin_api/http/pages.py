"""``GET /jobs``, ``GET /models`` and ``GET /drift``: web pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from segadmin.jobs import control
from segadmin.models.card import card_of
from segadmin.models.versions import list_lines
from segadmin.monitoring.reports import report_history
from segadmin.storage.database import reading
from segadmin.storage.records import Scope
from segadmin_api.dashboard import drift, jobs, model_card, models
from segadmin_api.http.html import html_response
from segadmin_api.http.readers import PageReader
from segadmin_api.http.security import RequiresPages

#: Number of jobs on a page.
_PAGE_SIZE = 50
router = APIRouter(include_in_schema=False, dependencies=[Depends(RequiresPages(Scope.PAGES))])
#: Routes that every key opens.
any_key_router = APIRouter(include_in_schema=False, dependencies=[Depends(RequiresPages(None))])


@router.get("/jobs")
def list_jobs(
    request: Request, reader: PageReader, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> HTMLResponse:
    """Show the newest jobs, or the newest of those that are older than the job ``before``."""
    lines = control.list_jobs(request.app.state.settings, _PAGE_SIZE, before=before)
    return html_response(jobs.list_page(lines, newest=before is None, full=len(lines) == _PAGE_SIZE, reader=reader))


@router.get("/jobs/{job}")
def show_job(request: Request, job: Annotated[int, Path(ge=1, le=2**31 - 1)], reader: PageReader) -> HTMLResponse:
    """Show a job with its curves."""
    settings = request.app.state.settings
    return html_response(jobs.page(settings, control.view(settings, job), online=True, reader=reader))


@router.get("/models")
def list_models(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the model versions."""
    return html_response(models.list_page(list_lines(request.app.state.settings), reader))


@router.get("/models/{version}")
def show_model(
    request: Request,
    version: Annotated[str, Path(pattern="^(champion|[0-9]{1,9})$")],
    reader: PageReader,
    labels: str | None = None,
) -> HTMLResponse:
    """Show the card of a version, or of the champion (of ``labels``)."""
    return html_response(
        model_card.page(card_of(request.app.state.settings, version, labels), online=True, reader=reader)
    )


@router.get("/drift")
def list_drift(request: Request, reader: PageReader, labels: str | None = None) -> HTMLResponse:
    """Show the drift reports over time, of all label sets or of ``labels``."""
    with reading(request.app.state.settings) as session:
        return html_response(drift.page(report_history(session, labels), online=True, reader=reader))


@any_key_router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """Describe the API."""
    return JSONResponse(request.app.openapi())
