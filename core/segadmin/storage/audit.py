"""The append-only audit log: who viewed users, who erased them, and who changed which model is used."""

from __future__ import annotations

import getpass
import os
from contextvars import ContextVar

from sqlmodel import col, select

from segadmin.settings import Settings
from segadmin.storage.database import reading, transaction
from segadmin.storage.records import Audit

#: Who acts in this context, such as a key of the HTTP API; ``None``: the user that runs this process.
_actor_here: ContextVar[str | None] = ContextVar("segadmin_actor", default=None)


def set_actor(actor: str) -> None:
    """Let entries that are written in this context (:mod:`contextvars`), such as a request's, name ``actor``."""
    _actor_here.set(actor)


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


def entries(
    settings: Settings,
    action: str | None = None,
    limit: int = 100,
    *,
    actor: str | None = None,
    before: int | None = None,
) -> list[Audit]:
    """Return the latest entries, newest first.

    Args:
        settings: location of the database.
        action: only this action and those below it: ``users`` includes ``users.show``.
        limit: maximum number of entries.
        actor: only what this one did: a user of the machine, or a key as ``key ann``.
        before: only entries older than the one with this number.
    """
    query = select(Audit).order_by(col(Audit.id).desc()).limit(limit)
    if action is not None:
        query = query.where((col(Audit.action) == action) | col(Audit.action).startswith(f"{action}.", autoescape=True))
    if actor is not None:
        query = query.where(Audit.actor == actor)
    if before is not None:
        query = query.where(col(Audit.id) < before)
    with reading(settings) as session:
        return list(session.exec(query).all())


def current_actor() -> str:
    """Return who acts; by default the user that runs this process, under ``sudo`` with the user who called it."""
    if (actor := _actor_here.get()) is not None:
        return actor
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"uid {os.getuid()}"
    caller = os.environ.get("SUDO_USER")
    return f"{caller} as {user}" if caller else user
