"""Setting messages aside from a worker's main process."""

from __future__ import annotations

import socket

from segadmin.jobs import quarantine
from segadmin.settings import get_settings
from segadmin.storage import database


def set_aside(queue: str, reason: str, message: bytes | str) -> None:
    """Keep a message in SQL; nothing is raised, and no connection stays open for a child to inherit."""
    settings = get_settings()
    quarantine.set_aside(settings, queue, reason, message, socket.gethostname())
    database.engine(settings).dispose()
