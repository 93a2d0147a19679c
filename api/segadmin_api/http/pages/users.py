"""``/users``: single users. Keys that only open pages were made for less; analysts may."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from segadmin.errors import DataError
from segadmin.events.keys import show_key
from segadmin.snapshots.user import find_user
from segadmin.storage import audit
from segadmin.storage.records import Scope
from segadmin_api.dashboard import users
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import PagesKey, pages_router, settings_of
from segadmin_api.http.readers import PageReader

router = pages_router(Scope.ANALYST)


@router.get("/users")
def find(request: Request, reader: PageReader, user: Annotated[str, Query(max_length=512)] = "") -> HTMLResponse:
    """Look for a user, and go to their page."""
    if not user:
        return html_response(users.search_page(reader))
    try:
        key = find_user(settings_of(request), user)
    except DataError as error:
        return html_response(users.search_page(reader, user, str(error)), 404)
    return html_response("", 303, {"Location": f"/users/{show_key(key)}"})


@router.get("/users/{user}")
def show_user(request: Request, user: str, key: PagesKey, reader: PageReader, *, text: bool = False) -> HTMLResponse:
    """Show a user: the segments now and before, and with ``text`` what the models read."""
    settings = settings_of(request)
    number = find_user(settings, user)
    audit.record(settings, "users.show", f"user {show_key(number)}", text=text, key=key)
    return html_response(users.page(settings, number, reader, text=text))
