"""``/``: the first page."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from segadmin_api.dashboard import overview
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router()


@router.get("/")
def show_overview(request: Request, reader: PageReader) -> HTMLResponse:
    """Show what is current, what runs, and what needs attention."""
    return html_response(overview.page(settings_of(request), reader))
