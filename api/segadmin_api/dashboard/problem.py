"""The page of an error."""

from __future__ import annotations

from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import served, text_of


def page(title: str, detail: str, reader: Reader = ENGLISH) -> str:
    """Return the page of a problem (RFC 9457) with its title and detail."""
    return served("problem.html", text_of(reader, title), "", reader, detail=detail)
