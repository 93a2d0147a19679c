"""``/snapshots``: snapshots, and what changed between two."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from segadmin.monitoring.snapshot_report import read_report
from segadmin.snapshots.diff import find_two
from segadmin.snapshots.recent_diffs import recent_diff
from segadmin.storage.database import reading
from segadmin_api.dashboard import report, snapshots
from segadmin_api.http.html import attachment, html_response
from segadmin_api.http.pages.routes import Number, pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router()


@router.get("/snapshots")
def list_snapshots(
    request: Request, reader: PageReader, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> HTMLResponse:
    """Show the snapshots."""
    with reading(settings_of(request)) as session:
        return html_response(snapshots.list_page(session, reader, before))


@router.get("/snapshots/{number}")
def show_snapshot(request: Request, number: Number, reader: PageReader) -> HTMLResponse:
    """Show one snapshot."""
    with reading(settings_of(request)) as session:
        return html_response(snapshots.page(session, str(number), reader))


@router.get("/snapshots/{number}/report")
def send_report(request: Request, number: Number, reader: PageReader) -> HTMLResponse:
    """Send the report of a snapshot, in the language of the reader, as a file."""
    facts = read_report(settings_of(request), str(number))
    return html_response(report.page(facts, reader=reader), headers=attachment(report.file_name(facts, reader)))


@router.get("/snapshots/{earlier}/{later}")
def compare_snapshots(request: Request, earlier: Number, later: Number, reader: PageReader) -> HTMLResponse:
    """Show who moved between two snapshots, and why."""
    settings = settings_of(request)
    with reading(settings) as session:
        pair = find_two(session, str(earlier), str(later))
    return html_response(snapshots.diff_page(recent_diff(settings, *pair), reader))
