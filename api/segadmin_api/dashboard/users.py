"""The pages of users: the search, and one user with their segments over time."""

from __future__ import annotations

from segadmin.events.keys import show_key
from segadmin.settings import Settings
from segadmin.snapshots.user import Assigned, history, read_text
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

#: Rows of the history on a page.
_HISTORY = 200


def search_page(reader: Reader, asked: str = "", problem: str = "") -> str:
    """Return the page that asks for a user.

    Args:
        reader: who reads it.
        asked: the id that was looked for.
        problem: why there is no such user.
    """
    title = text_of(reader, "users")
    return served("users.html", title, "/users", reader, asked=asked, problem=problem)


def page(settings: Settings, key: int, reader: Reader, *, text: bool = False) -> str:
    """Return the page of a user; with ``text`` also what the models read of them."""
    rows = history(settings, key)
    current = [row for row in rows if row.current]
    texts = {row.label_set: read_text(settings, key, row.model_version_id) for row in current} if text else {}
    return served(
        "user.html",
        text_of(reader, "user %(key)s", key=show_key(key)),
        "/users",
        reader,
        key=show_key(key),
        current=current,
        moves=_moves(rows)[:_HISTORY],
        texts=texts,
    )


def _moves(rows: list[Assigned]) -> list[Assigned]:
    """Return the rows at which a user entered a segment, newest first: runs in one segment are one row."""
    entered: dict[str, list[Assigned]] = {}
    for row in reversed(rows):
        runs = entered.setdefault(row.label_set, [])
        if not runs or runs[-1].segment != row.segment:
            runs.append(row)
    return sorted((row for runs in entered.values() for row in runs), key=lambda row: -row.snapshot_id)
