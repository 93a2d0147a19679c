"""The bounds of one connection, before an application that answers more than a client cares to read."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from segadmin.settings import Settings
from segadmin_api.http.processes import ALONE
from segadmin_api.http.server import _protocol, listening_socket
from segadmin_worker.services import LOOPBACK

PIECE, PIECES = bytes(2**20), 200


class Endless:
    """Answers with 200 MiB, and notes how that ended."""

    def __init__(self) -> None:
        self.over = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send(head)
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        self.over.set()
        await send({"type": "http.response.body"})


@pytest.fixture
def endless() -> Endless:
    return Endless()


@pytest.fixture
def port(endless: Endless) -> Iterator[int]:
    """A server whose clients have half a second to read on."""
    settings = Settings(web_body_seconds=0.5)
    config = uvicorn.Config(endless, http=_protocol(settings, ALONE), ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def test_a_client_that_does_not_read_is_disconnected(endless: Endless, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 60) as deaf:
        deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert endless.over.wait(60), "the application is not kept waiting"
        received = 0
        with pytest.raises((ConnectionResetError, EOFError)):
            while True:
                part = deaf.recv(2**20)
                received += len(part)
                if not part:
                    raise EOFError
        assert received < PIECES * len(PIECE)


def test_a_client_that_reads_slowly_is_not_disconnected(endless: Endless, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 60) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = 0
        while part := slow.recv(2**20):
            received += len(part)
    assert received > PIECES * len(PIECE)


def test_connections_of_several_processes_send_at_once() -> None:
    config = uvicorn.Config("unused", host=LOOPBACK, port=0)
    with listening_socket(config) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
