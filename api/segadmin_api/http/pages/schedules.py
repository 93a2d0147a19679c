"""``/schedules``: the schedules."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from segadmin.jobs import schedules
from segadmin_api.dashboard import lists
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router()


@router.get("/schedules")
def list_schedules(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the schedules."""
    settings = settings_of(request)
    return html_response(lists.schedules_page(schedules.list_schedules(settings), schedules.overdue(settings), reader))
