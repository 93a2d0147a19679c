"""``/audit``: who did what; for administrators, as it names people."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from segadmin.storage import audit as log
from segadmin.storage.records import Scope
from segadmin_api.dashboard import audit
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import pages_router, settings_of
from segadmin_api.http.readers import PageReader

#: Entries on a page.
_ENTRIES = 100
router = pages_router(Scope.ADMIN)
Filter = Annotated[str, Query(max_length=200)]


@router.get("/audit")
def list_audit(
    request: Request,
    reader: PageReader,
    action: Filter = "",
    actor: Filter = "",
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> HTMLResponse:
    """Show the newest entries of the audit log, or of a filter of it."""
    action, actor, size = action.strip(), actor.strip(), reader.rows_at_once(_ENTRIES)
    entries = log.entries(settings_of(request), action or None, size, actor=actor or None, before=before)
    full, newest = len(entries) == size, before is None
    return html_response(audit.page(entries, reader, action=action, actor=actor, newest=newest, full=full))
