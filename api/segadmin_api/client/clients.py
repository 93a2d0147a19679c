"""``Client`` and ``AsyncClient``: typed access to a server (``segadmin web``), with retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from segadmin.errors import ConfigurationError, ServerUnavailable
from segadmin.urls import mask_url
from segadmin_api.client.answers import exchange, unreachable
from segadmin_api.client.bodies import file_pieces, request_of, saving
from segadmin_api.client.call import Answer, Call
from segadmin_api.client.operations import AsyncSender, Operations, Sender
from segadmin_api.schemas.pages import Page

if TYPE_CHECKING:
    import httpx

Item = TypeVar("Item", bound=BaseModel)

#: Seconds that a connection, or an answer, may take.
_TIMEOUT = 60.0
#: Items that are read at a time.
_PAGE = 1000


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
        steps = exchange(call, self._server)
        pause = next(steps)
        while True:
            time.sleep(pause)
            try:
                pause = steps.send(self._once(call))
            except StopIteration as end:
                answer: Answer = end.value
                return answer

    def items(self, method: Callable[..., Page[Item]], **options: Any) -> Iterator[Item]:
        """Yield the items of all pages of a list, such as ``client.items(client.list_jobs, kind=["refresh"])``."""
        cursor: str | None = None
        while True:
            page = method(**{"limit": _PAGE} | options, cursor=cursor)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def _once(self, call: Call[Any]) -> httpx.Response | ServerUnavailable:
        """Send a call once; return the answer, or why there is none."""
        response: httpx.Response
        body = file_pieces(call.file, call) if call.file else None
        try:
            with self._http.stream(**request_of(call), content=body) as response:
                if call.out is None or not response.is_success:
                    response.read()
                    return response
                with saving(call.out) as file:
                    file.writelines(response.iter_bytes())
                return response
        except _httpx().TransportError as error:
            return unreachable(self._server, error)

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
        steps = exchange(call, self._server)
        pause = next(steps)
        while True:
            await asyncio.sleep(pause)
            try:
                pause = steps.send(await self._once(call))
            except StopIteration as end:
                answer: Answer = end.value
                return answer

    async def items(self, method: Callable[..., Awaitable[Page[Item]]], **options: Any) -> AsyncIterator[Item]:
        """Yield the items of all pages of a list, see :meth:`Client.items`."""
        cursor: str | None = None
        while True:
            page = await method(**{"limit": _PAGE} | options, cursor=cursor)
            for item in page.items:
                yield item
            if (cursor := page.next) is None:
                return

    async def _once(self, call: Call[Any]) -> httpx.Response | ServerUnavailable:
        """Send a call once; return the answer, or why there is none."""
        response: httpx.Response
        body = _awaited(file_pieces(call.file, call)) if call.file else None
        try:
            async with self._http.stream(**request_of(call), content=body) as response:
                if call.out is None or not response.is_success:
                    await response.aread()
                    return response
                with saving(call.out) as file:
                    async for piece in response.aiter_bytes():
                        file.write(piece)
                return response
        except _httpx().TransportError as error:
            return unreachable(self._server, error)

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
        raise ConfigurationError(
            f"--server={mask_url(server)!r} is no address of a server. Give one such as https://HOST:8000."
        )
    if not (key.isascii() and key.isprintable() and key.strip() == key and key):
        make = "segadmin keys create NAME --role operator"
        raise ConfigurationError(f"--key is missing, or it is no key. Set SEGADMIN_KEY. Make one on the server: {make}")
    return server.rstrip("/")


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


async def _awaited(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces of a file that are read in another thread."""
    while (piece := await asyncio.to_thread(next, pieces, b"")) != b"":
        yield piece
