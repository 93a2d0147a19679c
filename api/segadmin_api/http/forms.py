"""The forms of pages: who may send them, what they hold, and where the browser goes next.

A form is sent by the session of a browser and holds the session's token, which other sites cannot know. Its answer is
a redirect to a page, which then shows what was done (the notice, a cookie that the next page takes away).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from segadmin.jobs.enqueue import Enqueued
from segadmin.storage.database import one_state
from segadmin_api.dashboard.login import session_ended
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.bodies import read_body
from segadmin_api.http.kept_forms import KeptForm
from segadmin_api.http.local_paths import local_path
from segadmin_api.http.login_page import login_page
from segadmin_api.http.problems import request_errors
from segadmin_api.http.readers import NOTICE, reader_of
from segadmin_api.http.security import Requires, authorize
from segadmin_api.http.sessions import CSRF_FIELD, read_session
from segadmin_api.http.tables import table_response, wants_table
from segadmin_api.http.threads import ThreadedRoute

#: The field with the path of the page that a form is on.
BACK_FIELD = "back"
#: Bytes and fields of a form; a file is sent in another way.
_MOST_BYTES, _MOST_FIELDS = 256 * 2**10, 2_000
#: Characters of a notice.
_NOTICE = 1_000


@dataclass(frozen=True)
class Form:
    """The fields of a form that was sent."""

    fields: Mapping[str, Sequence[str]]  #: name → values, in the order of the form

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of a field without surrounding spaces; ``default`` if it is missing."""
        return self.fields[name][0].strip() if self.fields.get(name) else default

    def texts(self, name: str) -> list[str]:
        """Return all values of a field."""
        return list(self.fields.get(name, ()))

    @property
    def back(self) -> str:
        """The path of the page that the form is on."""
        return local_path(self.text(BACK_FIELD))


class SessionEnded(HTTPException):
    """A form came without a session: the login page keeps it."""

    def __init__(self, back: str, kept: KeptForm | None) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, "The session has ended. Log in again.")
        self.back, self.kept = back, kept


class PageRoute(ThreadedRoute):
    """A route of pages: errors of the request are the client's, a notice is shown once, tables are sent as files.

    A page shows one state of the database: see :func:`segadmin.storage.database.one_state`.
    """

    @staticmethod
    def of_reading(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        """Return what a page calls in its thread."""

        @wraps(endpoint)
        def run(*args: Any, **options: Any) -> Any:
            request: Request | None = options.get("request")
            if request is None:
                return endpoint(*args, **options)
            with one_state(request.app.state.settings):
                return endpoint(*args, **options)

        return run

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that handles a request."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                with request_errors():
                    response = await handle(request)
            except SessionEnded as ended:
                detail = session_ended(reader_of(request), kept=ended.kept is not None)
                return login_page(request, ended.back, detail, HTTPStatus.UNAUTHORIZED, ended.kept)
            if wants_table(request):
                return table_response(request, response)
            if NOTICE in request.cookies and response.status_code == 200:
                response.delete_cookie(NOTICE)
            return response

        return handle_page


class RequiresForm(Requires):
    """A dependency of the routes of forms: the session's key must give access to a scope; returns the form.

    Raises, when it is called:
        SessionEnded: there is no session; the login page keeps the form.
        HTTPException: 403 if its key does not give access or the form lacks
            the session's token, 413 if it is too large, 400 if it is none.
    """

    async def __call__(self, request: Request) -> Form:  # type: ignore[override]
        """Return the form."""
        form = await read_form(request)
        session = await run_in_threadpool(read_session, request.app.state.settings, request)
        if session is None:
            raise SessionEnded(form.back, KeptForm.of(request, form.fields))
        if not session.owns(form.text(CSRF_FIELD)):
            raise HTTPException(403, "The form has no valid token. Load the page again.")
        authorize(request, session.key, self.scope)
        request.state.session = session
        return form


async def read_form(request: Request) -> Form:
    """Return the fields of a request that a form without files sent.

    Raises:
        HTTPException: 413 if it is too large, 400 if it is none.
    """
    body = await read_body(request, most=_MOST_BYTES)
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise HTTPException(400, "The body is not a form.") from None
    if any("\x00" in value for values in fields.values() for value in values):
        raise HTTPException(422, "A field has a NUL character, which cannot be stored. Leave it out.")
    return Form(fields)


def go_to(path: str, notice: str = "") -> RedirectResponse:
    """Return the answer to a form: the browser opens the page ``path``, which shows ``notice`` once."""
    response = RedirectResponse(local_path(path), 303)
    if notice:
        response.set_cookie(NOTICE, quote(notice[:_NOTICE]), max_age=60, httponly=True, samesite="strict")
    return response


def saved_notice(reader: Reader, done: Enqueued) -> str:
    """Return the notice about a job that a form has asked for."""
    if done.dispatched:
        return text_of(reader, "Job %(number)s is enqueued.", number=done.job.id)
    return text_of(reader, "Saved as job %(number)s; it starts when the broker is back.", number=done.job.id)
