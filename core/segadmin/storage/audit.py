"""The append-only audit log: who viewed users, who erased them, and who changed which model is used."""

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
        settings: location of the database.
        action: such as ``users.show``.
        subject: what the action was applied to; a user only by the pseudonym.
        details: additional values for JSON; never the shop's own ids.
    """
    with transaction(settings) as session:
        session.add(entry(action, subject, **details))


def entry(action: str, subject: str, **details: object) -> Audit:
    """Return an entry to add to the transaction of the action it describes; arguments as in :func:`record`."""
    return Audit(actor=current_actor(), action=action, subject=subject, details=details)


def entries(settings: Settings, action: str | None = None, limit: int = 100) -> list[Audit]:
    """Return the latest entries, newest first.

    Args:
        settings: location of the database.
        action: only this action and those below it: ``users`` includes ``users.show``.
        limit: maximum number of entries.
    """
    query = select(Audit).order_by(col(Audit.id).desc()).limit(limit)
    if action is not None:
        query = query.where((col(Audit.action) == action) | col(Audit.action).startswith(f"{action}.", autoescape=True))
    with transaction(settings) as session:
        return list(session.exec(query).all())


def current_actor() -> str:
    """Return the user that runs this process; under ``sudo``, also the user who called it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"uid {os.getuid()}"
    caller = os.environ.get("SUDO_USER")
    return f"{caller} as {user}" if caller else user
