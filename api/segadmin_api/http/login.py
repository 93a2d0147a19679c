"""``/login`` and ``/logout``: a key becomes a session, and a session ends.

Every form has a token. That of the login form is also in a cookie, since there is no session yet: another site can make
a browser send the form, but neither read nor set that cookie.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from segadmin.storage import api_keys
from segadmin.storage.audit import record, set_actor
from segadmin.storage.records import ApiKey
from segadmin_api.dashboard import login as pages
from segadmin_api.dashboard.reader import Reader
from segadmin_api.http.forms import read_form
from segadmin_api.http.html import html_response
from segadmin_api.http.kept_forms import FIELDS_FIELD, PATH_FIELD, KeptForm
from segadmin_api.http.local_paths import local_path
from segadmin_api.http.login_page import COOKIE, login_page, owns_login
from segadmin_api.http.readers import reader_of
from segadmin_api.http.security import find_key
from segadmin_api.http.sessions import CSRF_FIELD, Session, begin_session, read_session, set_session

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show_login(request: Request, next_: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> Response:
    """Show the login page."""
    return login_page(request, next_)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Turn a key into a session, and continue at the page that was asked for, or with the form that was kept."""
    form = await read_form(request)
    target = local_path(form.text("next"))
    kept = KeptForm.read(form.text(PATH_FIELD), form.text(FIELDS_FIELD))
    if not owns_login(request, form.text(CSRF_FIELD)):
        return login_page(request, target, pages.too_old(reader_of(request)), 403, kept)
    try:
        key = await run_in_threadpool(find_key, request, form.text("key"))
    except HTTPException as error:
        detail = await run_in_threadpool(_refusal, request, form.text("key"), error)
        response = login_page(request, target, detail, error.status_code, kept)
        if retry_after := (error.headers or {}).get("Retry-After"):
            response.headers["Retry-After"] = retry_after
        return response
    cookie, token = await run_in_threadpool(_begin, request, key)
    response = RedirectResponse(target, 303)
    if kept is not None:
        reader = replace(reader_of(request), key=key.name, token=token, scopes=key.opens.includes, path=target)
        response = html_response(pages.resend_page(kept, reader))
    set_session(request, response, cookie)
    response.delete_cookie(COOKIE, path="/login")
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


def _refusal(request: Request, secret: str, error: HTTPException) -> str:
    """Return why a key was refused, in the language of the reader."""
    reader: Reader = reader_of(request)
    if error.status_code == 429:
        return pages.too_many(reader, (error.headers or {}).get("Retry-After", ""))
    known = api_keys.used(request.app.state.settings, secret) if error.status_code == 401 else None
    return pages.expired(reader, known.expires_at) if known is not None else pages.unknown(reader)


def _begin(request: Request, key: ApiKey) -> tuple[str, str]:
    settings = request.app.state.settings
    set_actor(f"key {key.name}")
    record(settings, "sessions.begin", f"key {key.name}", address=request.client.host if request.client else None)
    return begin_session(settings, key)


def _end(request: Request, session: Session) -> None:
    set_actor(f"key {session.key.name}")
    record(request.app.state.settings, "sessions.end", f"key {session.key.name}")
