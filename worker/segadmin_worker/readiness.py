"""Whether a part that was started does its work yet."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from segadmin.errors import BrokerUnavailable
from segadmin.settings import Settings
from segadmin_worker import inspection, redis_server
from segadmin_worker.services import Part


def is_ready(settings: Settings, part: Part, log: Path, log_start: int) -> bool:
    """Return whether ``part`` answers; its log, from ``log_start`` on, is what this start of it has said."""
    if part.name == "redis":
        return redis_server.answers(settings)
    if part.nodename:
        return _worker_answers(settings, part.nodename)
    if part.url:
        return _page_answers(part)
    return _said(log, log_start, b"beat: Starting")  # beat listens nowhere


def _worker_answers(settings: Settings, nodename: str) -> bool:
    try:
        return nodename in inspection.workers(settings, seconds=1.0, nodenames=[nodename])
    except BrokerUnavailable:
        return False


def _page_answers(part: Part) -> bool:
    connection = http.client.HTTPConnection(urlsplit(part.url).netloc, timeout=2)
    try:
        connection.request("GET", part.health)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _said(log: Path, start: int, words: bytes) -> bool:
    with log.open("rb") as file:
        file.seek(start)
        return words in file.read()
