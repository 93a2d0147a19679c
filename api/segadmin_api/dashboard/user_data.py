"""The pages of the erasure of a user: what would be erased, and what was."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from segadmin.events.erase import Erased
from segadmin_api.dashboard.data import HERE
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


class Certificate(NamedTuple):
    """That a user was erased."""

    erased: Erased
    at: datetime
    actor: str
    entry: int  #: of the audit log


def erase_page(reader: Reader, *, user: str = "", planned: Erased | None = None, problem: str = "") -> str:
    """Return the page that asks for a user, or with ``planned`` shows what would be erased.

    Args:
        reader: who reads it.
        user: the id that was given.
        planned: what there is of the user.
        problem: why nothing was erased.
    """
    content = {"user": user, "planned": planned, "problem": problem}
    return served("erase.html", text_of(reader, "erase a user"), HERE, reader, tab="/data/erase", **content)


def certificate_page(reader: Reader, certificate: Certificate) -> str:
    """Return the page that says what was erased; it is shown once, as nothing of the user is kept."""
    title = text_of(reader, "certificate of erasure")
    return served("erased.html", title, HERE, reader, tab="/data/erase", certificate=certificate)
