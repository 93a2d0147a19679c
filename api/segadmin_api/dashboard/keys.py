"""The pages of keys: who has which, the form of a new one, and that one, shown once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segadmin.storage.records import ApiKey, Scope
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

#: The times of validity that the form offers; empty: no end.
VALIDITIES = ("30d", "90d", "365d", "")


@dataclass(frozen=True)
class KeyForm:
    """The form of a new key, as it was written."""

    name: str = ""
    scope: str = Scope.VIEWER.value
    validity: str = "90d"
    problem: str = ""  #: why its name cannot be used


def list_page(keys: Sequence[ApiKey], reader: Reader, form: KeyForm | None = None, problem: str = "") -> str:
    """Return the page of all keys.

    Args:
        keys: oldest first.
        reader: who reads it.
        form: the form that was refused; ``None``: an empty one.
        problem: why a key could not be revoked.
    """
    content = {"keys": keys, "form": form or KeyForm(), "scopes": _scopes(), "validities": VALIDITIES}
    title = text_of(reader, "keys")
    return served("keys.html", title, "/plugins", reader, tab="/keys", problem=problem, **content)


def new_page(name: str, key: str, reader: Reader) -> str:
    """Return the page that shows a new key, once."""
    title = text_of(reader, "new key")
    return served("key.html", title, "/plugins", reader, tab="/keys", name=name, key=key)


def _scopes() -> list[tuple[str, str]]:
    """Return what a key can open, the roles first, each with its description."""
    return [(scope.value, SCOPES[scope]) for scope in sorted(Scope, key=list(SCOPES).index)]


#: What each key may do.
SCOPES = {
    Scope.VIEWER: "reads everything except users' ids and texts, keys and the audit log",
    Scope.ANALYST: "also reads users' ids, texts and quarantined rows",
    Scope.OPERATOR: "also runs jobs, changes schedules and promotes models",
    Scope.ADMIN: "may do everything",
    Scope.PAGES: "only opens pages in a browser",
    Scope.EVENTS: "only sends events",
    Scope.SEGMENTS: "only scores users and looks up their segments",
}
