"""ASGI middleware that rejects invalid requests and adds security headers to every response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segadmin.logs import log_context
from segadmin_api.http.bodies import MOST_BYTES, too_large
from segadmin_api.http.hosts import Hosts
from segadmin_api.http.request_ids import HEADER as REQUEST_ID
from segadmin_api.http.request_ids import request_id

#: Headers of every response, unless it sets them itself.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
}
_VERSIONS = ("1.0", "1.1")
#: Headers that must not be repeated, because a proxy may have used another one of them.
_ONCE = ("authorization", "content-length", "content-type", "host", "transfer-encoding")
#: The path of health checks. Load balancers request it, often by HTTP/1.0 without a ``Host``.
HEALTH = "/healthz"
#: Seconds for which a client may continue to send the body of a rejected request.
_LINGER_SECONDS = 5.0


class Shield:
    """Rejects requests for other hosts and ambiguous requests, and adds :data:`HEADERS` to responses.

    Args:
        app: the application.
        hosts: the allowed hosts.
        problem: returns the response for a status and a reason.
        limits: path → largest body, and the reason for refusing a larger one; of other paths it is the usual.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Hosts,
        problem: Callable[[Request, int, str], Response],
        limits: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        self._app, self._hosts, self._problem, self._limits = app, hosts, problem, limits or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with log_context(request=request_id(scope)):
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers[REQUEST_ID] = request_id(scope)
                _complete(headers)
            await send(message)

        refusal = self._refusal(scope["http_version"], scope["path"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
            return
        answer = self._problem(Request(scope), *refusal)
        answer.headers["Connection"] = "close"  # the boundary to the next request is uncertain
        await answer(scope, receive, _lingering(receive, send_with_headers))

    def _refusal(self, version: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Return the status and the reason of a rejection, or ``None``; the body is not read yet."""
        if version not in _VERSIONS:
            return 505, f"The server does not support HTTP/{version}."
        for name in _ONCE:
            if len(headers.getlist(name)) > 1:
                return 400, f"There are several {name.title()} headers."
        if "transfer-encoding" in headers and "content-length" in headers:
            return 400, "There are both a Content-Length and a Transfer-Encoding."
        host = headers.get("host", "")  # h11 has rejected HTTP/1.1 requests without one
        if not self._hosts.allows(host) and (host or path != HEALTH):
            reason = f"This server is not called {host[:100]!r}." if host else "The request names no host."
            return 421, f"{reason} If it is yours: set SEGADMIN_WEB_HOSTS to {'that name' if host else '*'}."
        most, reason = self._limits.get(path, (MOST_BYTES, too_large()))
        if int(headers.get("content-length", 0)) > most:
            return 413, reason
        return None


def _lingering(receive: Receive, send: Send) -> Send:
    """Return a function that sends a response, and completes it after the client has sent its body or a timeout.

    Completion closes the connection, and a client that still sends would get a reset before it has read the response
    (RFC 9112, section 9.6).
    """

    async def send_and_wait(message: Message) -> None:
        if message["type"] != "http.response.body" or message.get("more_body"):
            await send(message)
            return
        await send({**message, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})

    return send_and_wait


def _complete(headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if "location" in headers:  # Starlette repeats the Host, and a scheme that a proxy may have changed
        target = urlsplit(headers["location"])
        headers["location"] = target._replace(scheme="", netloc="").geturl()
