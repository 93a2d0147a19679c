"""``/segments``: the segments of the current snapshots."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from segadmin.storage.database import reading
from segadmin_api.dashboard import segments
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router()


@router.get("/segments")
def list_segments(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the segments of the current snapshots."""
    with reading(settings_of(request)) as session:
        return html_response(segments.list_page(session, reader))


@router.get("/segments/{label_set}/{segment:path}")
def show_segment(request: Request, label_set: str, segment: str, reader: PageReader) -> HTMLResponse:
    """Show one segment."""
    with reading(settings_of(request)) as session:
        return html_response(segments.page(session, label_set, segment, reader))
