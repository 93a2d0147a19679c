"""The web server: uvicorn, with bounds on connections and on the time that each may take.

uvicorn closes a connection between two requests, and waits forever in the middle of one: some hundred that send a byte
a minute would take all there are.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from segadmin.settings import Settings
from segadmin_api.http.app import create_app
from segadmin_api.http.shield import HEADERS

log = logging.getLogger(__name__)
#: Seconds that a connection waits for its next request, and that running requests have when the server stops.
_KEEP_ALIVE_SECONDS, _STOP_SECONDS = 5, 10


def run(settings: Settings, address: str, port: int) -> None:
    """Serve the application until SIGTERM or SIGINT."""
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    where = {"address": address, "port": port}
    log.info("web server starts", extra={"action": "start", **where})
    uvicorn.run(
        create_app(settings, address),
        host=address,
        port=port,
        log_config=None,  # its lines are written as all others of this process
        http=_protocol(settings),
        ws="none",
        server_header=False,
        proxy_headers=bool(settings.web_proxies),
        forwarded_allow_ips=list(settings.web_proxies),
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    log.info("web server stopped", extra={"action": "stop", **where})


def _without_query(record: logging.LogRecord) -> bool:
    """Take the query out of a line of the access log: a mistaken ``?key=`` would be kept there."""
    if isinstance(record.args, tuple):
        record.args = tuple(one.partition("?")[0] if isinstance(one, str) else one for one in record.args)
    return True


class BoundedProtocol(H11Protocol):
    """One connection, which is closed where a head, a body, or the reading of an answer takes too long."""

    settings: Settings

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **more)
        self._waits_since: float | None = None  #: for the next request; ``None`` while one is worked on
        self._body: object = None  #: the request whose body is awaited
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where there are too many connections, the one that has waited longest for a request makes room."""
        super().connection_made(transport)
        self._watch()
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one.is_open and one != self]
        if len(others) >= self.settings.web_connections:
            waiting = [(one._waits_since, id(one), one) for one in others if one._waits_since is not None]
            if waiting:
                min(waiting)[2].transport.abort()
            else:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._watch()
        self._expect_reading()

    def pause_writing(self) -> None:
        """Wait until the client has read some of the answer."""
        super().pause_writing()
        self._expect_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        _cancel(self._reading)
        _cancel(self._writing)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST)

    @property
    def is_open(self) -> bool:
        """Whether it is not being closed."""
        return not self.transport.is_closing()

    def _watch(self) -> None:
        """Set the time until which the next part of a request must have come whole."""
        is_busy = self.cycle is not None and not self.cycle.response_complete
        body = self.cycle if is_busy and self.conn.their_state is h11.SEND_BODY else None
        if is_busy is (self._waits_since is None) and body is self._body:
            return
        _cancel(self._reading)
        self._reading, self._body = None, body
        # What is left of a body that was answered already is worth no more time than the next head.
        self._waits_since = None if is_busy else self.loop.time()
        if not is_busy or body is not None:
            seconds = self.settings.web_body_seconds if is_busy else self.settings.web_head_seconds
            self._reading = self.loop.call_later(seconds, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _expect_reading(self) -> None:
        _cancel(self._writing)
        self._writing = self.loop.call_later(self.settings.web_body_seconds, self._drop_unread)

    def _drop_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Say why, if no answer has begun, and close the connection, whatever of a request is still to come."""
        if self.is_open and self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            head = {**HEADERS, "Content-Length": "0", "Connection": "close"}
            lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in head.items())]
            self.transport.write("\r\n".join([*lines, "", ""]).encode())
        self.transport.close()
        self._expect_reading()


def _protocol(settings: Settings) -> type[BoundedProtocol]:
    return type("Protocol", (BoundedProtocol,), {"settings": settings})


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
