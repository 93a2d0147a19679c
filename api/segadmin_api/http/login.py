"""``/login`` and ``/logout``: a key becomes a session, and a session ends.

Every form has a token. That of the login form is also in a cookie, since there is no session yet: another site can make
a browser send the form, but neither read nor set that cookie.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from segadmin.storage.audit import record, set_actor
from segadmin.storage.records import ApiKey
from segadmin_api.dashboard import login as login_page
from segadmin_api.http.forms import Form, read_form
from segadmin_api.http.html import html_response
from segadmin_api.http.local_paths import local_path
from segadmin_api.http.readers import reader_of
from segadmin_api.http.security import find_key
from segadmin_api.http.sessions import CSRF_FIELD, Session, begin_session, is_encrypted, read_session, set_session

router = APIRouter(include_in_schema=False)
#: The cookie with the token of the login form.
_FORM_COOKIE = "segadmin_login"


@router.get("/login")
def show_login(request: Request, next_: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> Response:
    """Show the login page."""
    return _page(request, next_)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Turn a key into a session, and continue at the page that was asked for."""
    form = await read_form(request)
    target = local_path(form.text("next"))
    if not _owns_form(request, form):
        return _page(request, target, "The page was open for too long, or in another tab. Try again.", 403)
    try:
        key = await run_in_threadpool(find_key, request, form.text("key"))
    except HTTPException as error:
        response = _page(request, target, str(error.detail), error.status_code)
        if retry_after := (error.headers or {}).get("Retry-After"):
            response.headers["Retry-After"] = retry_after
        return response
    response = RedirectResponse(target, 303)
    cookie = await run_in_threadpool(_begin, request, key)
    set_session(request, response, cookie)
    response.delete_cookie(_FORM_COOKIE, path="/login")
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End the session of this browser."""
    form = await read_form(request)
    session = await run_in_threadpool(read_session, request.app.state.settings, request)
    if session is not None and not session.owns(form.text(CSRF_FIELD)):
        raise HTTPException(403, "The form has no valid token. Load the page again.")
    if session is not None:
        await run_in_threadpool(_end, request, session)
    response = RedirectResponse("/login", 303)
    set_session(request, response, "")
    return response


def _begin(request: Request, key: ApiKey) -> str:
    settings = request.app.state.settings
    set_actor(f"key {key.name}")
    record(settings, "sessions.begin", f"key {key.name}", address=request.client.host if request.client else None)
    return begin_session(settings, key)[0]


def _end(request: Request, session: Session) -> None:
    set_actor(f"key {session.key.name}")
    record(request.app.state.settings, "sessions.end", f"key {session.key.name}")


def _page(request: Request, target: str, detail: str = "", status: int = 200) -> Response:
    token = secrets.token_urlsafe(32)
    response = html_response(login_page.page(token, local_path(target), reader_of(request), detail), status)
    response.set_cookie(
        _FORM_COOKIE,
        token,
        max_age=3600,
        path="/login",
        secure=is_encrypted(request),
        httponly=True,
        samesite="strict",
    )
    return response


def _owns_form(request: Request, form: Form) -> bool:
    """Return whether a form is from this browser's login page."""
    expected = request.cookies.get(_FORM_COOKIE, "")
    return bool(expected) and hmac.compare_digest(expected.encode(), form.text(CSRF_FIELD).encode())
