"""Who reads a page: preferences are in cookies, which hold nothing else."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Request

from segadmin_api.dashboard.reader import LANGUAGES, THEMES, Reader, preferred_language

#: Cookies of the preferences. ``zone`` is set by a script of the page.
LANGUAGE, THEME, ZONE = "language", "theme", "zone"


def reader_of(request: Request) -> Reader:
    """Return the preferences of a request; the language of the browser by default."""
    language, theme = request.cookies.get(LANGUAGE, ""), request.cookies.get(THEME, "")
    return Reader(
        language=language if language in LANGUAGES else preferred_language(request.headers.get("accept-language", "")),
        zone=_zone(request.cookies.get(ZONE, "")),
        theme=theme if theme in THEMES else "auto",
        path=quote(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
    )


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, ZoneInfoNotFoundError):  # also of a path, or of nothing
        return "UTC"


PageReader = Annotated[Reader, Depends(reader_of)]
