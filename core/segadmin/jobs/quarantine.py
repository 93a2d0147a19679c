"""Messages from the broker that segadmin did not send: kept for an operator to see, and never run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlmodel import col, delete, func, select

from segadmin.errors import SegadminError
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import QuarantinedMessage

log = logging.getLogger(__name__)
#: Characters of a message that are kept, and messages that are kept: a flood must not fill the database.
_LENGTH, _MESSAGES = 4000, 1000


def set_aside(settings: Settings, queue: str, reason: str, message: bytes | str, worker: str) -> None:
    """Keep a message that is not valid; without a database it is only logged."""
    raw = message if isinstance(message, bytes) else message.encode("utf-8", "surrogatepass")
    shown = raw[: 4 * _LENGTH].decode("utf-8", "backslashreplace").replace("\0", "\\x00")[:_LENGTH]
    log.warning("a message was set aside: %s", reason, extra={"action": "quarantine", "queue": queue})
    try:
        with transaction(settings) as session:
            kept = QuarantinedMessage(queue=queue, reason=reason, message=shown, size=len(raw), worker=worker)
            session.add(kept)
            session.flush()
            session.exec(delete(QuarantinedMessage).where(col(QuarantinedMessage.id) <= (kept.id or 0) - _MESSAGES))
    except SegadminError:
        log.exception("it could not be recorded: %s", shown[:200], extra={"action": "quarantine", "queue": queue})


def list_messages(settings: Settings, limit: int = 20) -> Sequence[QuarantinedMessage]:
    """Return the newest messages first."""
    with transaction(settings) as session:
        return session.exec(select(QuarantinedMessage).order_by(col(QuarantinedMessage.id).desc()).limit(limit)).all()


def clear(settings: Settings) -> int:
    """Delete all of them and return how many there were."""
    with transaction(settings) as session:
        count = session.exec(select(func.count()).select_from(QuarantinedMessage)).one()
        session.exec(delete(QuarantinedMessage))
        return count
