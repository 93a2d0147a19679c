"""Checks whether a service that was started is ready."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from segadmin.errors import BrokerUnavailable
from segadmin.settings import Settings
from segadmin_worker import inspection, redis_server
from segadmin_worker.services import Service


def is_ready(settings: Settings, service: Service, log: Path, log_start: int) -> bool:
    """Return whether ``service`` is ready.

    Args:
        settings: the settings it was started with.
        service: the service to check.
        log: its log file.
        log_start: byte offset in ``log`` where the output of this start begins.
    """
    if service.name == "redis":
        return redis_server.answers(settings)
    if service.nodename:
        return _worker_answers(settings, service.nodename)
    if service.url:
        return _page_answers(service)
    return _log_contains(log, log_start, b"beat: Starting")  # beat does not listen on a port


def _worker_answers(settings: Settings, nodename: str) -> bool:
    try:
        return nodename in inspection.workers(settings, seconds=1.0, nodenames=[nodename])
    except BrokerUnavailable:
        return False


def _page_answers(service: Service) -> bool:
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=2)
    try:
        connection.request("GET", service.health)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _log_contains(log: Path, start: int, text: bytes) -> bool:
    with log.open("rb") as file:
        file.seek(start)
        return text in file.read()
