"""``/``: the first page, with the forms that settle what needs attention."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from segadmin.jobs import control
from segadmin.storage.records import Scope
from segadmin_api.dashboard import overview
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_api.http.v1.job_checks import check_asked
from segadmin_worker.client import dispatcher

router, forms = pages_router(), forms_router()


@router.get("/")
def show_overview(request: Request, reader: PageReader) -> HTMLResponse:
    """Show what is current, what runs, and what needs attention."""
    return html_response(overview.page(settings_of(request), reader))


@forms.post("/overview/retry")
def retry(request: Request, form: Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]) -> Response:
    """Retry a job that failed."""
    number = form.text("job")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise HTTPException(422, f"job: {number!r} is not the number of a job. Load the page again.")
    settings = settings_of(request)
    check_asked(request, control.view(settings, int(number)).job)
    control.retry(settings, dispatcher(settings), int(number))
    return go_to("/", text_of(reader_of(request), "Job %(number)s runs again.", number=number))
