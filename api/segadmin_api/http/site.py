"""The pages of the web application, besides those of jobs and models, and the files that they load."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from sqlmodel import col, select

from segadmin.errors import DataError
from segadmin.events.keys import show_key
from segadmin.jobs import schedules as jobs_schedules
from segadmin.snapshots.diff import diff, find_two
from segadmin.snapshots.user import find_user
from segadmin.storage import audit
from segadmin.storage.database import reading
from segadmin.storage.records import Import, Scope
from segadmin_api.dashboard import lists, overview, segments, snapshots, users
from segadmin_api.dashboard.assets import TYPES, file_of
from segadmin_api.dashboard.reader import LANGUAGES, THEMES
from segadmin_api.http.html import html_response
from segadmin_api.http.local_paths import local_path
from segadmin_api.http.readers import LANGUAGE, THEME, PageReader
from segadmin_api.http.security import RequiresPages
from segadmin_api.http.v1.routing import Route

_YEAR = 365 * 86_400
_IMPORTS, _ENTRIES = 100, 200
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
PagesKey = Annotated[str, Depends(RequiresPages(Scope.PAGES))]
router = APIRouter(include_in_schema=False, dependencies=[Depends(RequiresPages(Scope.PAGES))], route_class=Route)
#: Pages of single users, with their texts, and of what people did: keys that open pages were made for less.
_ANALYST, _ADMIN = ([Depends(RequiresPages(scope))] for scope in (Scope.ANALYST, Scope.ADMIN))
#: Files without data, which the login page needs too.
files_router = APIRouter(include_in_schema=False)


@files_router.get("/static/{digest}/{name:path}")
def static_file(digest: str, name: str) -> FileResponse:
    """Serve a script or a style; its path changes with its content."""
    path = file_of(name)
    if path is None:
        raise HTTPException(404, f"There is nothing at /static/{digest}/{name}.")
    headers = {"Cache-Control": f"public, max-age={_YEAR}, immutable"}
    return FileResponse(path, media_type=TYPES[path.suffix], headers=headers)


@files_router.get("/preferences")
def prefer(language: str = "", theme: str = "", back: str = "/") -> RedirectResponse:
    """Set the language or the colours of pages, and go back to the page ``back``."""
    response = RedirectResponse(local_path(back), status_code=303)
    for cookie, value, known in ((LANGUAGE, language, LANGUAGES), (THEME, theme, THEMES)):
        if value in known:
            response.set_cookie(cookie, value, max_age=_YEAR, samesite="lax", httponly=True)
    return response


@router.get("/")
def show_overview(request: Request, reader: PageReader) -> HTMLResponse:
    """Show what is current, what runs, and what needs attention."""
    return html_response(overview.page(request.app.state.settings, reader))


@router.get("/segments")
def list_segments(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the segments of the current snapshots."""
    with reading(request.app.state.settings) as session:
        return html_response(segments.list_page(session, reader))


@router.get("/segments/{label_set}/{segment}")
def show_segment(request: Request, label_set: str, segment: str, reader: PageReader) -> HTMLResponse:
    """Show one segment."""
    with reading(request.app.state.settings) as session:
        return html_response(segments.page(session, label_set, segment, reader))


@router.get("/users", dependencies=_ANALYST)
def find(request: Request, reader: PageReader, user: Annotated[str, Query(max_length=512)] = "") -> HTMLResponse:
    """Look for a user, and go to their page."""
    if not user:
        return html_response(users.search_page(reader), has_form=True)
    try:
        key = find_user(request.app.state.settings, user)
    except DataError as error:
        return html_response(users.search_page(reader, user, str(error)), 404, has_form=True)
    return html_response("", 303, {"Location": f"/users/{show_key(key)}"})


@router.get("/users/{user}", dependencies=_ANALYST)
def show_user(request: Request, user: str, key: PagesKey, reader: PageReader, *, text: bool = False) -> HTMLResponse:
    """Show a user: the segments now and before, and with ``text`` what the models read."""
    settings = request.app.state.settings
    number = find_user(settings, user)
    audit.record(settings, "users.show", f"user {show_key(number)}", text=text, key=key)
    return html_response(users.page(settings, number, reader, text=text))


@router.get("/snapshots")
def list_snapshots(
    request: Request, reader: PageReader, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> HTMLResponse:
    """Show the snapshots."""
    with reading(request.app.state.settings) as session:
        return html_response(snapshots.list_page(session, reader, before))


@router.get("/snapshots/{number}")
def show_snapshot(request: Request, number: Number, reader: PageReader) -> HTMLResponse:
    """Show one snapshot."""
    with reading(request.app.state.settings) as session:
        return html_response(snapshots.page(session, str(number), reader))


@router.get("/snapshots/{earlier}/{later}")
def compare_snapshots(request: Request, earlier: Number, later: Number, reader: PageReader) -> HTMLResponse:
    """Show who moved between two snapshots, and why."""
    settings = request.app.state.settings
    with reading(settings) as session:
        pair = find_two(session, str(earlier), str(later))
    return html_response(snapshots.diff_page(diff(settings, *pair), reader))


@router.get("/data")
def list_imports(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the newest imports."""
    with reading(request.app.state.settings) as session:
        rows = session.exec(select(Import).order_by(col(Import.id).desc()).limit(_IMPORTS)).all()
    return html_response(lists.imports_page(rows, reader))


@router.get("/schedules")
def list_schedules(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the schedules."""
    settings = request.app.state.settings
    rows, overdue = jobs_schedules.list_schedules(settings), jobs_schedules.overdue(settings)
    return html_response(lists.schedules_page(rows, overdue, reader))


@router.get("/audit", dependencies=_ADMIN)
def list_audit(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the newest entries of the audit log."""
    return html_response(lists.audit_page(audit.entries(request.app.state.settings, limit=_ENTRIES), reader))
