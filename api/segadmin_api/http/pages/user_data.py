"""``/data/merges`` and ``/data/erase``: users who become one, and users who are forgotten."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from segadmin.errors import DataError
from segadmin.events.erase import Erased, forget, plan_erasure
from segadmin.events.merge import PairState, UserPair, list_merges, merge_users, undo_merge
from segadmin.settings import Settings
from segadmin.storage.audit import current_actor, entries
from segadmin.storage.records import Scope
from segadmin_api.dashboard import data, user_data
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, reader_of
from segadmin_api.http.v1.merges import WAIT_SECONDS

#: Merges on a page.
_MERGES = 100
merges, erasures, forms = pages_router(Scope.ANALYST), pages_router(Scope.ADMIN), forms_router()
Operator = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]
Admin = Annotated[Form, Depends(RequiresForm(Scope.ADMIN))]


@merges.get("/data/merges")
def list_all(
    request: Request, reader: PageReader, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> HTMLResponse:
    """Show the newest merges, or those older than the merge ``before``."""
    return html_response(_merges_page(settings_of(request), reader, before=before))


@forms.post("/data/merges")
def merge(request: Request, form: Operator) -> Response:
    """Merge two users."""
    settings, reader = settings_of(request), reader_of(request)
    pair = UserPair(form.text("old"), form.text("new"))
    try:
        [done] = merge_users(settings, [pair], wait_seconds=WAIT_SECONDS)
        problem = done.problem
    except DataError as error:
        problem = str(error)
    if problem:
        return html_response(_merges_page(settings, reader, pair=pair, problem=problem), 422)
    if done.state != PairState.MERGED:
        return go_to("/data/merges", text_of(reader, "They were merged before."))
    return go_to("/data/merges", text_of(reader, "The users are one now. The next refresh scores them."))


@forms.post("/data/merges/undo")
def undo(request: Request, form: Operator) -> RedirectResponse:
    """Undo a merge."""
    number = form.text("merge")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise HTTPException(422, f"{number!r} is no number of a merge.")
    undo_merge(settings_of(request), int(number), wait_seconds=WAIT_SECONDS)
    reader = reader_of(request)
    notice = text_of(reader, "Merge %(number)s is undone. The next refresh scores both users.", number=number)
    return go_to("/data/merges", notice)


@erasures.get("/data/erase")
def ask_for_user(reader: PageReader) -> HTMLResponse:
    """Show the form for a user."""
    return html_response(user_data.erase_page(reader))


@forms.post("/data/erase/plan")
def plan(request: Request, form: Admin) -> HTMLResponse:
    """Show what would be erased of a user."""
    return _plan(request, form.text("user"))


@forms.post("/data/erase")
def erase(request: Request, form: Admin) -> HTMLResponse:
    """Erase a user whose id was given twice, and show what was erased: nothing of it is kept to be shown later."""
    settings, reader, user = settings_of(request), reader_of(request), form.text("user")
    if user != form.text("again"):
        return _plan(request, user, text_of(reader, "The two ids differ. Nothing was erased."))
    [erased] = forget(settings, [user])
    if not erased.is_known:
        return _unknown(reader, user, erased)
    [entry] = entries(settings, "data.forget", 1)
    certificate = user_data.Certificate(erased, entry.created_at, current_actor(), entry.id or 0)
    return html_response(user_data.certificate_page(reader, certificate))


def _plan(request: Request, user: str, problem: str = "") -> HTMLResponse:
    reader = reader_of(request)
    try:
        [planned] = plan_erasure(settings_of(request), [user])
    except DataError as error:
        return html_response(user_data.erase_page(reader, user=user, problem=str(error)), 422)
    if not planned.is_known:
        return _unknown(reader, user, planned)
    page = user_data.erase_page(reader, user=user, planned=planned, problem=problem)
    return html_response(page, 422 if problem else 200)


def _unknown(reader: Reader, user: str, erased: Erased) -> HTMLResponse:
    problem = text_of(reader, "There is no user %(user)s; nothing was erased.", user=repr(user))
    if erased.similar:
        problem += " " + text_of(reader, "Did you mean %(users)s?", users=", ".join(map(repr, erased.similar)))
    return html_response(user_data.erase_page(reader, user=user, problem=problem), 404)


def _merges_page(
    settings: Settings,
    reader: Reader,
    *,
    before: int | None = None,
    pair: UserPair | None = None,
    problem: str = "",
) -> str:
    rows = list_merges(settings, limit=_MERGES + 1, before=before)
    older = rows[_MERGES - 1].id if len(rows) > _MERGES else None
    old, new = (pair.old, pair.new) if pair else ("", "")
    return data.merges_page(
        rows[:_MERGES], reader, older=older, newest=before is None, old=old, new=new, problem=problem
    )
