"""``/users``, ``/corrections`` and ``/review``: single users, for analysts; keys for pages alone do not open them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from segadmin.errors import ConfigurationError, DataError, UserNotFound
from segadmin.events.keys import show_key
from segadmin.snapshots import corrections
from segadmin.snapshots.read import currents, find_snapshot
from segadmin.snapshots.review import recent_review
from segadmin.snapshots.user import find_user
from segadmin.storage import audit
from segadmin.storage.database import now, reading
from segadmin.storage.records import MAX_WEIGHT, Scope
from segadmin_api.dashboard import users
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader

#: Users of the review list, and corrections on a page.
_REVIEW, _CORRECTIONS = 50, 50
router, forms = pages_router(Scope.ANALYST), forms_router()
Sent = Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))]


@router.get("/users")
def find(request: Request, reader: PageReader, user: Annotated[str, Query(max_length=512)] = "") -> HTMLResponse:
    """Look for a user, and go to their page."""
    if not user:
        return html_response(users.search_page(reader))
    try:
        key = find_user(settings_of(request), user)
    except UserNotFound:
        return html_response(users.search_page(reader, user, _not_found(reader, user)), 404)
    except DataError as error:
        return html_response(users.search_page(reader, user, str(error)), 404)
    return html_response("", 303, {"Location": f"/users/{show_key(key)}"})


@router.get("/users/{user}")
def show_user(
    request: Request,
    user: str,
    reader: PageReader,
    *,
    text: bool = False,
    after: Annotated[str, Query(pattern=r"^-?[0-9]{1,18}_-?[0-9]{1,18}[0-9]?$")] = "",
) -> HTMLResponse:
    """Show a user: events, the segments now and before, corrections, and with ``text`` what the models read."""
    settings = settings_of(request)
    number = find_user(settings, user)
    audit.record(settings, "users.show", f"user {show_key(number)}", text=text, key=request.state.key.name)
    moment, _, event = after.partition("_")
    position = (int(moment), _within(int(event))) if after else None
    return html_response(users.page(users.content_of(settings, number, text=text, after=position), reader))


@router.get("/corrections")
def list_corrections(
    request: Request,
    reader: PageReader,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    *,
    over: bool = False,
) -> HTMLResponse:
    """Show the corrections that are in force, or all."""
    settings = settings_of(request)
    if before is None:
        audit.record(settings, "users.corrections", "all label sets")
    with reading(settings) as session:
        moment = now(session)
        rows = corrections.list_corrections(session, None, _CORRECTIONS + 1, before=before, over=over)
    older = rows[_CORRECTIONS - 1].id if len(rows) > _CORRECTIONS else None
    return html_response(users.corrections_page(rows[:_CORRECTIONS], moment, reader, over=over, older=older))


@router.get("/review")
def list_review(
    request: Request, reader: PageReader, labels: Annotated[str | None, Query(max_length=200)] = None
) -> HTMLResponse:
    """Show whom it pays most to look at and to correct."""
    settings = settings_of(request)
    with reading(settings) as session:
        names = list(currents(session))
        chosen = labels or (names[0] if len(names) == 1 else None)
        snapshot = None if chosen is None else find_snapshot(session, "current", chosen)
    if snapshot is None:
        return html_response(users.review_page([], None, names, reader))
    rows = recent_review(settings, snapshot, _REVIEW).to_dicts()
    audit.record(settings, "users.review", f"snapshot {snapshot.id}", rows=len(rows), user_ids=False)
    return html_response(users.review_page(rows, snapshot, names, reader))


@forms.post("/users/{user}/correct")
def correct(request: Request, user: str, form: Sent, reader: PageReader) -> Response:
    """Put a user in a segment, whatever the model says."""

    def run() -> corrections.Corrected:
        weight = form.text("weight", "1")
        if not (weight.isascii() and weight.isdecimal() and len(weight) < 10):
            raise ConfigurationError(f"The weight {weight!r} is no whole number from 0 to {MAX_WEIGHT}.")
        return corrections.correct(
            settings_of(request),
            user,
            form.text("segment"),
            form.text("reason"),
            label_set=form.text("labels"),
            expires_at=_end_of(form.text("expires"), reader),
            weight=int(weight),
        )

    return _done(request, user, form, reader, run)


@forms.post("/users/{user}/pin")
def pin(request: Request, user: str, form: Sent, reader: PageReader) -> Response:
    """Keep a user in a segment for good."""

    def run() -> corrections.Corrected:
        segment, labels = form.text("segment"), form.text("labels")
        return corrections.pin(settings_of(request), user, form.text("reason"), segment=segment, label_set=labels)

    return _done(request, user, form, reader, run)


@forms.post("/users/{user}/withdraw")
def withdraw(request: Request, user: str, form: Sent, reader: PageReader) -> Response:
    """End the correction of a user."""

    def run() -> corrections.Corrected:
        return corrections.withdraw(settings_of(request), user, form.text("reason"), label_set=form.text("labels"))

    return _done(request, user, form, reader, run)


def _done(
    request: Request, user: str, form: Form, reader: Reader, run: Callable[[], corrections.Corrected]
) -> Response:
    """Return the page of the user with what was done; or the form again, if it cannot be done."""
    settings = settings_of(request)
    key = find_user(settings, user)
    try:
        done = run()
    except (ConfigurationError, DataError) as error:
        values = {name: form.text(name) for name in ("labels", "segment", "reason", "expires", "weight")}
        sent = users.CorrectionForm(request.url.path.rpartition("/")[2], values, str(error))
        here = replace(reader, path=f"/users/{show_key(key)}")
        return html_response(users.page(users.content_of(settings, key), here, sent), 422)
    return go_to(f"/users/{show_key(key)}", users.notice(done, reader))


def _not_found(reader: Reader, user: str) -> str:
    return text_of(
        reader,
        "There is no user %(user)s. Give the shop's own id, as it was imported, or a pseudonym of 16 hex digits.",
        user=repr(user),
    )


def _end_of(day: str, reader: Reader) -> datetime | None:
    """Return the end of a day in the zone of the reader; ``None`` if none was given."""
    if not day:
        return None
    try:
        date = datetime.strptime(day, "%Y-%m-%d").date()
        ends = datetime.combine(date + timedelta(days=1), time(), ZoneInfo(reader.zone))
        return ends.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{day!r} is no date such as 2027-01-31. Leave it empty if it never ends.") from None


def _within(number: int) -> int:
    """Return a number as the store can compare it."""
    return max(min(number, 2**63 - 1), -(2**63))
