"""The audit log: who looked at users, who erased them, who changed which model is used. It only grows."""

from __future__ import annotations

import getpass
import os

from sqlmodel import col, select

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Audit


def record(settings: Settings, action: str, subject: str, **details: object) -> None:
    """Write an entry.

    Args:
        settings: where the database is.
        action: such as ``users.show``.
        subject: what it was done to; a user only by the pseudonym.
        details: more facts; JSON, and no shop's ids.
    """
    with transaction(settings) as session:
        session.add(entry(action, subject, **details))


def entry(action: str, subject: str, **details: object) -> Audit:
    """Return an entry, to be added to the transaction that does what it tells of; arguments as of :func:`record`."""
    return Audit(actor=_actor(), action=action, subject=subject, details=details)


def entries(settings: Settings, action: str | None = None, limit: int = 100) -> list[Audit]:
    """Return the newest entries, the newest first; of ``action`` and those below it (``users`` for ``users.show``)."""
    asked = select(Audit).order_by(col(Audit.id).desc()).limit(limit)
    if action is not None:
        asked = asked.where((col(Audit.action) == action) | col(Audit.action).startswith(f"{action}.", autoescape=True))
    with transaction(settings) as session:
        return list(session.exec(asked).all())


def _actor() -> str:
    """Return who runs this process; ``sudo`` does not hide it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return f"{behind} as {user}" if behind else user
