"""The login page, and the page that sends a form which was kept during a login."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


class Kept(Protocol):
    """A form that is sent after the login."""

    @property
    def path(self) -> str:
        """Where it is sent."""

    @property
    def fields(self) -> Sequence[tuple[str, str]]:
        """Its fields without the token."""

    @property
    def text(self) -> str:
        """The fields as one text."""


def page(token: str, target: str, reader: Reader, detail: str = "", kept: Kept | None = None) -> str:
    """Return the login page.

    Args:
        token: the token of its form.
        target: the path to continue at.
        reader: who reads it.
        detail: why the last attempt was refused, or why a login is needed.
        kept: the form to send after the login.
    """
    title = text_of(reader, "log in")
    return served("login.html", title, "", reader, token=token, target=target, detail=detail, kept=kept)


def resend_page(kept: Kept, reader: Reader) -> str:
    """Return the page that asks whether to send a form that was kept during the login."""
    shown = [(name, value) for name, value in kept.fields if name != "back" and value]
    return served("resend.html", text_of(reader, "send the form?"), "", reader, kept=kept, shown=shown)


def session_ended(reader: Reader, *, kept: bool) -> str:
    """Return why a form was not done: there is no session any more."""
    if kept:
        return text_of(reader, "The session has ended. Log in, and the form that you sent is not lost.")
    return text_of(reader, "The session has ended. Log in again.")


def too_old(reader: Reader) -> str:
    """Return why a login form was refused that is not the latest of its browser."""
    return text_of(reader, "The page was open for too long, or in another tab. Try again.")


def too_many(reader: Reader, seconds: str) -> str:
    """Return that too many wrong keys came."""
    return text_of(reader, "Too many wrong keys came from this address. Try again in %(seconds)s s.", seconds=seconds)


def unknown(reader: Reader) -> str:
    """Return that there is no such key."""
    return text_of(reader, "There is no such key: it is mistyped, or it was revoked. Ask an administrator for one.")


def expired(reader: Reader, moment: datetime | None) -> str:
    """Return that a key has expired."""
    shown = reader.formats.moment(moment)
    return text_of(reader, "This key expired on %(moment)s. Ask an administrator for another one.", moment=shown)
