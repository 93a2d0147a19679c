"""Who reads a page: preferences and the notice are in cookies; what they may change is that of their session."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Request

from segadmin_api.dashboard.reader import LANGUAGES, THEMES, Reader, preferred_language
from segadmin_api.http.local_paths import path_of
from segadmin_api.http.sessions import Session

#: Cookies of the preferences. ``zone`` is set by a script of the page.
LANGUAGE, THEME, ZONE = "language", "theme", "zone"
#: The cookie with what the last form did, until a page has shown it.
NOTICE = "segadmin_notice"
#: The parameter with the number of a table of a page, which is sent as a file.
TABLE = "csv"


def reader_of(request: Request) -> Reader:
    """Return who sent a request; the language is that of the browser by default.

    The session is that which its authorization has read: before it, there is none.
    """
    session: Session | None = getattr(request.state, "session", None)
    language, theme = request.cookies.get(LANGUAGE, ""), request.cookies.get(THEME, "")
    return Reader(
        language=language if language in LANGUAGES else preferred_language(request.headers.get("accept-language", "")),
        zone=_zone(request.cookies.get(ZONE, "")),
        theme=theme if theme in THEMES else "auto",
        path=path_of(request),
        notice=unquote(request.cookies.get(NOTICE, "")),
        key=session.key.name if session else "",
        token=session.token if session else "",
        scopes=session.key.opens.includes if session else frozenset(),
        plain=TABLE in request.query_params,
    )


def on_page(reader: Reader, path: str) -> Reader:
    """Return the reader as on the page ``path``: a form that is shown again stands there, at no address of its own."""
    return replace(reader, path=path)


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, ZoneInfoNotFoundError):  # also of a path, or of nothing
        return "UTC"


PageReader = Annotated[Reader, Depends(reader_of)]
