"""The webhook and receivers that answer, but not as they should."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from segadmin.contracts.feed import FeedBatch
from segadmin.errors import FeedUnavailable
from segadmin_plugins.feeds.webhook import Webhook

BATCH = FeedBatch("hook", 7, 1, [{"user": "0" * 16, "position": 1}])


@contextmanager
def receiver(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept one connection, read what comes and let ``answer`` write; yield the URL."""

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    thread.join()


def drip(connection: socket.socket) -> None:
    """Begin a good answer, and never end it: each byte comes before a socket's timeout."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.1)


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_SECRET", "s")
    with receiver(drip) as url:
        feed = Webhook(url=url, secret_env="FEED_SECRET", timeout_seconds=1.0)
        with pytest.raises(FeedUnavailable, match="no complete answer within 1 s"):
            feed.deliver(BATCH)


def test_what_a_receiver_answers_is_quoted_in_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_SECRET", "s")
    answer = b"\xff\xfe what?\n" + b"a" * 9_000 + b"\r\n\r\n"
    with (
        receiver(lambda connection: connection.sendall(answer)) as url,
        pytest.raises(FeedUnavailable) as raised,
    ):
        Webhook(url=url, secret_env="FEED_SECRET").deliver(BATCH)
    text = str(raised.value)
    assert "does not answer: BadStatusLine" in text
    assert "\n" not in text
    assert len(text) < 400
