"""The web server: uvicorn, in one process or several, with limits on connections and on the time of each request.

uvicorn has a timeout between two requests, but none within a request: some hundred clients that send one byte per
minute would occupy all connections.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from segadmin.logs import set_up_logging
from segadmin.settings import Settings
from segadmin_api.http.app import create_app
from segadmin_api.http.counts import Counts
from segadmin_api.http.logged_paths import logged_path
from segadmin_api.http.processes import ALONE, Processes
from segadmin_api.http.shield import HEADERS, Shield
from segadmin_api.http.uploads import UPLOAD_PATHS
from segadmin_worker.services import thread_limits

log = logging.getLogger(__name__)
#: Seconds that a connection waits for its next request, and that running requests have when the server stops.
_KEEP_ALIVE_SECONDS, _STOP_SECONDS = 5, 10
#: Seconds after which a process that does not answer its parent is replaced; one that loads a model may be silent. If
#: it is killed while its parent waits for the answer, the parent notices only then.
_SILENT_SECONDS = 15
#: A folder in memory on Linux: what is there needs no disk, which may be full.
_MEMORY = Path("/dev/shm")  # noqa: S108  (the folder in it is private)


def run(
    settings: Settings,
    address: str,
    port: int,
    tls: tuple[Path, Path] | None = None,
    *,
    behind_proxy: bool = False,
    processes: int = 1,
) -> None:
    """Serve the application until SIGTERM or SIGINT.

    Args:
        settings: of the application.
        address: to listen on.
        port: to listen on.
        tls: the files of the certificate and its private key; ``None``: without TLS.
        behind_proxy: whether a proxy with TLS is before it.
        processes: that answer requests.
    """
    where = {"address": address, "port": port}
    log.info("web server starts", extra={"action": "start", **where})
    options: dict[str, Any] = {
        "host": address,
        "port": port,
        "log_config": None,  # its lines are written as all others of this process
        "ws": "none",
        "ssl_certfile": tls and str(tls[0]),
        "ssl_keyfile": tls and str(tls[1]),
        "server_header": False,
        "proxy_headers": bool(settings.web_proxies),
        "forwarded_allow_ips": list(settings.web_proxies),
        "timeout_keep_alive": _KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": _STOP_SECONDS,
    }
    application = partial(create_app, settings, address, is_protected=tls is not None or behind_proxy)
    if processes == 1:
        uvicorn.run(application(), http=_protocol(settings, ALONE), **options)
    else:
        _run_several(settings, application, processes, options)
    log.info("web server stopped", extra={"action": "stop", **where})


def _run_several(settings: Settings, application: partial[Shield], number: int, options: dict[str, Any]) -> None:
    """Start and watch processes that share a socket, and start those again that end."""
    os.environ.update(thread_limits(number))
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="segadmin-web-", dir=where) as folder:
        file = Path(folder) / "counts.db"
        Counts(file).close()  # now it is there: SQLite does not wait if several processes prepare a file at once
        processes = Processes(number, file)
        config = uvicorn.Config(
            partial(_application, settings, application, processes),
            http=_protocol(settings, processes),
            factory=True,
            workers=number,
            timeout_worker_healthcheck=_SILENT_SECONDS,
            **options,
        )
        supervisor = Multiprocess(config, sockets=[listening_socket(config)])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def listening_socket(config: uvicorn.Config) -> socket.socket:
    """Return the socket of a server of several processes.

    asyncio sets ``TCP_NODELAY`` only on connections to a socket that it has made itself. Without it, the end of an
    answer waits 40 ms for the client to acknowledge the beginning.
    """
    listening = config.bind_socket()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listening


def _application(settings: Settings, application: partial[Shield], processes: Processes) -> Shield:
    """Return the application of one of several processes, whose lines in the log have its number."""
    set_up_logging(settings, fields={"pid": os.getpid()})
    return application(processes=processes)


class _AccessLog(logging.LoggerAdapter[logging.Logger]):
    """uvicorn's access log, with paths as :func:`~segadmin_api.http.logged_paths.logged_path` shows them.

    A filter would be too late: records are complete, with the message as one text, before filters see them.
    """

    def log(self, level: int, msg: object, *args: Any, **options: Any) -> None:
        """Log a request; the third argument is its path and query."""
        client, method, path, *others = args
        super().log(level, msg, client, method, logged_path(path), *others, **options)


class BoundedProtocol(H11Protocol):
    """A connection that is closed if a head, a body, or the reading of a response takes too long."""

    def __init__(
        self,
        settings: Settings,
        most: int,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Begin.

        Args:
            settings: of the server.
            most: connections that may be open.
            config: of uvicorn, as the others are.
            server_state: what the connections of this process share.
            app_state: what the application keeps for requests.
            kwargs: further arguments.
        """
        super().__init__(config, server_state, app_state, **kwargs)
        self.settings, self._most = settings, most
        self.access_logger = _AccessLog(self.access_logger)  # type: ignore[assignment]
        self._waits_since: float | None = None  #: time since which it waits for a request; ``None`` during one
        self._body: object = None  #: the request whose body is awaited
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; if there are too many, close the one that has been idle longest."""
        super().connection_made(transport)
        self._watch()
        others = [
            other
            for other in self.connections
            if isinstance(other, BoundedProtocol) and other.is_open and other != self
        ]
        if len(others) >= self._most:
            idle = [(other._waits_since, id(other), other) for other in others if other._waits_since is not None]
            if idle:
                min(idle)[2].transport.abort()
            else:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def data_received(self, data: bytes) -> None:
        """Receive data."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        super().on_response_complete()
        self._watch()
        self._expect_reading()

    def pause_writing(self) -> None:
        """Wait until the client has read some of the response."""
        super().pause_writing()
        self._expect_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        _cancel(self._reading)
        _cancel(self._writing)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST)

    @property
    def is_open(self) -> bool:
        """Whether it is not being closed."""
        return not self.transport.is_closing()

    def _watch(self) -> None:
        """Start the timer for the next head or body, if the state of the connection changed."""
        is_busy = self.cycle is not None and not self.cycle.response_complete
        body = self.cycle if is_busy and self.conn.their_state is h11.SEND_BODY else None
        if is_busy is (self._waits_since is None) and body is self._body:
            return
        _cancel(self._reading)
        self._reading, self._body = None, body
        # The rest of a body that was already answered gets the same time as the next head.
        self._waits_since = None if is_busy else self.loop.time()
        if not is_busy or body is not None:
            seconds = self._body_seconds() if is_busy else self.settings.web_head_seconds
            self._reading = self.loop.call_later(seconds, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _body_seconds(self) -> float:
        is_upload = self.cycle.scope["path"] in UPLOAD_PATHS
        return self.settings.web_upload_seconds if is_upload else self.settings.web_body_seconds

    def _expect_reading(self) -> None:
        _cancel(self._writing)
        self._writing = self.loop.call_later(self.settings.web_body_seconds, self._drop_unread)

    def _drop_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Close the connection, after a response with ``status`` if none has begun; ignore the rest of the request."""
        if self.is_open and self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            head = {**HEADERS, "Content-Length": "0", "Connection": "close"}
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                head["Retry-After"] = "1"
            lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in head.items())]
            self.transport.write("\r\n".join([*lines, "", ""]).encode())
        self.transport.close()
        self._expect_reading()


def _protocol(settings: Settings, processes: Processes) -> Any:
    """Return what makes a connection; unlike a class made here, it can be sent to another process."""
    return partial(BoundedProtocol, settings, processes.share(settings.web_connections))


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
