"""The users behind a cell of the difference of two snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

from segadmin.events.keys import show_key
from segadmin.snapshots.diff import SnapshotDiff
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

#: Users on a page.
PAGE = 50


@dataclass(frozen=True)
class Cell:
    """Which users of a difference are shown, see :func:`segadmin.snapshots.diff_cell.cell_of`."""

    before: str | None = None
    after: str | None = None
    cause: str | None = None


def page(compared: SnapshotDiff, cell: Cell, total: int, rows: Sequence[dict[str, Any]], reader: Reader) -> str:
    """Return a page of the users of a cell.

    Args:
        compared: the difference.
        cell: which users.
        total: their number.
        rows: one more than is shown, if there are more.
        reader: who reads it.
    """
    shown = [row | {"user": show_key(row["user_key"])} for row in rows[:PAGE]]
    earlier, later = compared.earlier.id, compared.later.id
    return served(
        "moved.html",
        text_of(reader, "users between snapshots %(one)s and %(other)s", one=earlier, other=later),
        "/snapshots",
        reader,
        compared=compared,
        snapshot=compared.later,
        cell={"moved_since": earlier, "before": cell.before, "after": cell.after, "cause": cell.cause},
        total=total,
        users=shown,
        older=shown[-1]["user"] if len(rows) > PAGE else None,
        nonce=token_urlsafe(12),
    )
