"""The login page."""

from __future__ import annotations

from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


def page(token: str, target: str, reader: Reader, detail: str = "") -> str:
    """Return the login page.

    Args:
        token: the token of its form.
        target: the path to continue at.
        reader: who reads it.
        detail: why the last attempt was refused.
    """
    return served("login.html", text_of(reader, "log in"), "", reader, token=token, target=target, detail=detail)
