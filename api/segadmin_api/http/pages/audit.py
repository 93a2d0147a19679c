"""``/audit``: who did what; for administrators, as it names people."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from segadmin.storage import audit
from segadmin.storage.records import Scope
from segadmin_api.dashboard import lists
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

#: Entries on the page.
_ENTRIES = 200
router = pages_router(Scope.ADMIN)


@router.get("/audit")
def list_audit(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the newest entries of the audit log."""
    return html_response(lists.audit_page(audit.entries(settings_of(request), limit=_ENTRIES), reader))
