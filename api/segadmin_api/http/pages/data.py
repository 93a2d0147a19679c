"""``/data``: what was imported."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse
from sqlmodel import col, select

from segadmin.storage.database import reading
from segadmin.storage.records import Import
from segadmin_api.dashboard import lists
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

#: Imports on a page.
_IMPORTS = 100
router = pages_router()


@router.get("/data")
def list_imports(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the newest imports."""
    with reading(settings_of(request)) as session:
        rows = session.exec(select(Import).order_by(col(Import.id).desc()).limit(_IMPORTS)).all()
    return html_response(lists.imports_page(rows, reader))
