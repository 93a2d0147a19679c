"""The users behind the numbers of snapshots: those of a cell of a difference, and typical ones of a segment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from segadmin.errors import DataError
from segadmin.events.keys import parse_key
from segadmin.snapshots.diff import find_two
from segadmin.snapshots.diff_cell import cell_of, page_of
from segadmin.snapshots.read import find_snapshot
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.snapshots.segment_view import view_segment
from segadmin.snapshots.typical import typical_users
from segadmin.storage import audit
from segadmin.storage.database import reading
from segadmin.storage.records import Scope
from segadmin_api.dashboard import moved, segment
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router(Scope.ANALYST)
Name = Annotated[str | None, Query(max_length=200)]


@router.get("/snapshots/{earlier}/{later}/users")
def list_moved(
    request: Request,
    earlier: Number,
    later: Number,
    reader: PageReader,
    *,
    before: Name = None,
    after: Name = None,
    cause: Name = None,
    position: Annotated[str, Query(alias="from", pattern="^[0-9a-f]{16}$")] = "",
) -> HTMLResponse:
    """Show the users of a cell of the matrix, or all who moved."""
    settings, cell = settings_of(request), moved.Cell(before, after, cause)
    with reading(settings) as session:
        pair = find_two(session, str(earlier), str(later))
    compared = recent_diff(settings, *pair)
    users = cell_of(compared, before, after, cause)
    if not position:
        audit.record(settings, "snapshots.diff", f"snapshots {earlier} and {later}", rows=users.height, **cell.__dict__)
    rows = page_of(users, moved.PAGE + 1, parse_key(position) if position else None).to_dicts()
    return html_response(moved.page(compared, cell, users.height, rows, reader))


@router.get("/snapshots/{number}/typical")
def list_typical(
    request: Request,
    number: Number,
    reader: PageReader,
    name: Annotated[str, Query(alias="segment", max_length=200)],
) -> HTMLResponse:
    """Show the users in the middle of a segment of the current snapshot."""
    settings = settings_of(request)
    with reading(settings) as session:
        snapshot = find_snapshot(session, str(number))
    view = view_segment(settings, snapshot.label_set, name)
    if view.snapshot.id != number:
        raise DataError(f"Snapshot {number} is not current any more. Typical users are those of {view.snapshot.id}.")
    users = typical_users(settings, view.snapshot, name)
    audit.record(settings, "snapshots.members", f"snapshot {number}", segment=name, typical=len(users))
    return html_response(segment.typical_page(view, users, reader))
