"""``Client`` and ``AsyncClient``: typed access to a server (``segadmin web``), with retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from segadmin.errors import ConfigurationError
from segadmin.urls import mask_url
from segadmin_api.client.answers import pause_before_repeating, read, unreachable
from segadmin_api.client.calls import Answer, Call
from segadmin_api.client.operations import AsyncSender, Operations, Sender

#: Seconds that a connection, or an answer, may take.
_TIMEOUT = 60.0


class Client(Operations, Sender):
    """A client of the HTTP API.

    What only reads, and what has an idempotency key, is repeated while the server does not answer. Errors are those of
    :mod:`segadmin.errors`, as if the call were made on the server.

    Example::

        with segadmin.Client("https://segadmin.shop.example", key) as client:
            job = client.enqueue("refresh", {"labels": "spend3"}).job
            print(client.show_job(job).state)
    """

    def __init__(self, server: str, key: str, *, timeout: float = _TIMEOUT) -> None:
        """Make a client.

        Args:
            server: its URL.
            key: as ``segadmin keys create`` prints it.
            timeout: seconds that an answer may take.

        Raises:
            ConfigurationError: the URL or the key cannot be used, or httpx is not installed.
        """
        self._server = _check(server, key)
        self._http = _httpx().Client(base_url=self._server, headers=_headers(key), timeout=timeout)

    def send(self, call: Call[Answer]) -> Answer:
        """Send a call and return its answer.

        Raises:
            SegadminError: the server refuses it.
            ServerUnavailable: the server does not answer.
        """
        attempt = 1
        while True:
            response, error = None, None
            try:
                response = self._http.request(**_request(call))
            except _httpx().TransportError as trouble:
                error = trouble
            pause = pause_before_repeating(call, response, attempt)
            if pause is None:
                if response is None:
                    raise unreachable(self._server, error or OSError()) from None
                return read(call, response)
            time.sleep(pause)
            attempt += 1

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Operations, AsyncSender):
    """As :class:`Client`, with methods that are awaited."""

    def __init__(self, server: str, key: str, *, timeout: float = _TIMEOUT) -> None:
        """Make a client; arguments and errors as of :class:`Client`."""
        self._server = _check(server, key)
        self._http = _httpx().AsyncClient(base_url=self._server, headers=_headers(key), timeout=timeout)

    async def send(self, call: Call[Answer]) -> Answer:
        """Send a call and return its answer; raises as :meth:`Client.send` does."""
        attempt = 1
        while True:
            response, error = None, None
            try:
                response = await self._http.request(**_request(call))
            except _httpx().TransportError as trouble:
                error = trouble
            pause = pause_before_repeating(call, response, attempt)
            if pause is None:
                if response is None:
                    raise unreachable(self._server, error or OSError()) from None
                return read(call, response)
            await asyncio.sleep(pause)
            attempt += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error.name} is not installed. Run: pip install 'segadmin[client]'") from None
    return httpx


def _check(server: str, key: str) -> str:
    """Return the URL of a server without a slash at its end.

    Raises:
        ConfigurationError: it is not a URL, or the key is not one.
    """
    try:
        parts = urlsplit(server)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(f"--server={mask_url(server)!r} is no address of a server. Give https://HOST[:PORT].")
    if not (key.isascii() and key.isprintable() and key.strip() == key and key):
        raise ConfigurationError("--key is missing, or it is no key. Set SEGADMIN_KEY to one: segadmin keys create")
    return server.rstrip("/")


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


def _request(call: Call[Any]) -> Mapping[str, Any]:
    """Return the arguments of httpx for a call."""
    query = {name: value for name, value in call.query.items() if value is not None}
    return {
        "method": call.method,
        "url": call.path,
        "params": query,
        "json": call.body,
        "headers": dict(call.headers),
    }
