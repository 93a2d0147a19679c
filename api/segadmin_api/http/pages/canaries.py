"""``/models/canaries``: versions that score some of the users, stopped and promoted by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request, Response
from fastapi.responses import HTMLResponse

from segadmin.errors import DataError, JobError, Stale
from segadmin.models import canary as engine
from segadmin.models import registry
from segadmin.models.champion_changes import champion_change
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import CanaryState, Scope
from segadmin_api.dashboard import canaries
from segadmin_api.dashboard.canaries import Refused
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http import champion_forms
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import Number, forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, on_page, reader_of

#: Canaries on a page.
_CANARIES = 100
router, forms = pages_router(), forms_router()
OperatorForm = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]


@router.get("/models/canaries")
def list_canaries(
    request: Request, reader: PageReader, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> HTMLResponse:
    """Show all canaries."""
    with reading(settings_of(request)) as session:
        rows = engine.list_canaries(session, before=before, limit=_CANARIES)
    return html_response(canaries.list_page(rows, reader, newest=before is None, full=len(rows) == _CANARIES))


@router.get("/models/canaries/{number}")
def show_canary(request: Request, number: Number, reader: PageReader) -> HTMLResponse:
    """Show a canary with its comparison so far."""
    return html_response(_page(settings_of(request), number, reader))


@forms.post("/models/canaries/{number}/stop")
def stop(request: Request, number: Number, form: OperatorForm) -> Response:
    """Stop a canary: the next refresh gives its users back to the champion."""
    settings, reader = settings_of(request), reader_of(request)
    if not (reason := form.text("reason")):
        needed = text_of(reader, "Give a reason: it is kept in the audit log.")
        return _again(settings, number, reader, Refused("stop", needed), champion_forms.Incomplete())
    try:
        canary = engine.stop_canary(settings, None, reason, number=number)
    except Stale as error:
        return _again(settings, number, reader, Refused("stop", _ended(settings, number, reader), reason), error)
    notice = text_of(
        reader,
        "The canary of version %(version)s is stopped. The next refresh gives its users back to version %(champion)s.",
        version=canary.challenger_id,
        champion=canary.champion_id,
    )
    return go_to(f"/models/canaries/{number}", notice)


@forms.post("/models/canaries/{number}/promote")
def promote(request: Request, number: Number, form: OperatorForm) -> Response:
    """Make the version of a canary champion before its time is over."""
    settings, reader = settings_of(request), reader_of(request)
    with reading(settings) as session:
        canary = engine.find_canary(session, number)

    def change(expected: int | None) -> registry.Promotion:
        _check_running(settings, number, reader)
        return registry.promote_version(settings, str(canary.challenger_id), form.text("reason"), expected=expected)

    try:
        return champion_forms.done(settings, champion_forms.changed(form, reader, change), reader)
    except _Ended as error:
        return _again(settings, number, reader, Refused("promote", str(error), form.text("reason")), error)
    except (Stale, JobError, DataError, champion_forms.Incomplete) as error:
        problem = champion_forms.problem(settings, canary.challenger_id, error, reader)
        return _again(settings, number, reader, Refused("promote", problem, form.text("reason")), error)


class _Ended(Stale):
    """The canary of a form has ended meanwhile."""


def _check_running(settings: Settings, number: int, reader: Reader) -> None:
    """Refuse to promote the version of a canary that has ended: somebody has decided otherwise."""
    with reading(settings) as session:
        state = engine.find_canary(session, number).state
    if state != CanaryState.RUNNING:
        raise _Ended(_ended(settings, number, reader))


def _ended(settings: Settings, number: int, reader: Reader) -> str:
    """Return how a canary has ended."""
    with reading(settings) as session:
        canary = engine.find_canary(session, number)
    facts = {"state": text_of(reader, canary.state.value), "reason": canary.reason or "–"}
    return text_of(reader, "The canary has ended since this page was shown: %(state)s, %(reason)s", **facts)


def _again(settings: Settings, number: int, reader: Reader, refused: Refused, error: Exception) -> Response:
    reader = on_page(reader, f"/models/canaries/{number}")
    return html_response(_page(settings, number, reader, refused), champion_forms.status_of(error))


def _page(settings: Settings, number: int, reader: Reader, refused: Refused | None = None) -> str:
    with reading(settings) as session:
        canary = engine.find_canary(session, number)
        champion = champion_change(session, canary.label_set)
    return canaries.page(canary, champion, reader, refused)
