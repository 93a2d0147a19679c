"""Quarantine of messages, from the main process of a worker."""

from __future__ import annotations

import socket

from segadmin.jobs import quarantine
from segadmin.settings import get_settings
from segadmin.storage import database


def set_aside(queue: str, reason: str, message: bytes | str) -> None:
    """Store a message in SQL. Raises nothing, and leaves no connection open that a child process could inherit."""
    settings = get_settings()
    quarantine.set_aside(settings, queue, reason, message, socket.gethostname())
    database.engine(settings).dispose()
