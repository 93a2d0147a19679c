"""Posting the records of the feed to a URL, signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

from segadmin.contracts.feed import Feed, FeedBatch
from segadmin.errors import ConfigurationError, FeedUnavailable
from segadmin.urls import fill_in, mask_url

#: An error is quoted up to this length: a receiver may answer anything.
_LONGEST_REASON = 200


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of ``X-Segadmin-Signature``: HMAC-SHA256 over ``<timestamp>.<body>``, in hex."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Webhook(Feed):
    """A URL that each batch is posted to as JSON; only an answer of 200 to 299 means that it was received.

    The body has ``feed``, ``delivery`` and ``records``. The header ``X-Segadmin-Delivery`` identifies the batch: a
    receiver ignores one that it knows. Redirects are not followed, and proxies are not used.
    """

    name: ClassVar[str] = "webhook"
    url: str = ""  #: http or https; a token only as $NAME
    secret_env: str = ""  #: the environment variable with the secret for the signature
    timeout_seconds: float = 10.0  #: for connecting, and from then on for the whole answer

    def check(self) -> None:
        """Check the options; the variables are read when a batch is posted, because workers may have others.

        Raises:
            ConfigurationError: the URL or the name of the variable cannot be used.
        """
        if not self.url.startswith("$"):
            _split(self.url)
        if not self.secret_env.isidentifier():
            raise ConfigurationError(
                f"The feed 'webhook' cannot use secret_env={self.secret_env!r}. Give the name of an environment "
                "variable with a secret: --option secret_env=FEED_SECRET"
            )
        if not 0 < self.timeout_seconds <= 600:
            raise ConfigurationError(
                f"The feed 'webhook' cannot use timeout_seconds={self.timeout_seconds:g}: give 1 to 600 seconds."
            )

    def deliver(self, batch: FeedBatch) -> None:
        """Post ``batch``.

        Raises:
            ConfigurationError: the URL cannot be used, or the secret is not set.
            FeedUnavailable: there was no answer, or one that does not mean success.
        """
        url, secret = _split(fill_in(self.url)), os.environ.get(self.secret_env)
        if not secret:
            raise ConfigurationError(
                f"The variable {self.secret_env} is not set. Set it in the environment of the workers, and start them "
                "again."
            )
        content = {"feed": batch.feed, "delivery": batch.delivery, "records": list(batch.records)}
        body, timestamp = json.dumps(content, ensure_ascii=False).encode(), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "segadmin",
            "X-Segadmin-Delivery": batch.delivery,
            "X-Segadmin-Timestamp": timestamp,
            "X-Segadmin-Signature": signature(secret, timestamp, body),
        }
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        try:
            with closing(self._connection(url)) as connection:
                connection.connect()
                with _within(self.timeout_seconds, connection.sock):
                    connection.request("POST", target, body, headers)
                    status = connection.getresponse().status
        except (OSError, HTTPException, ValueError) as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON].rstrip(".: ")
            raise FeedUnavailable(f"{mask_url(self.url)} does not answer: {why}. Check the receiver.") from None
        if not 200 <= status < 300:
            fix = "Redirects are not followed: correct the URL" if 300 <= status < 400 else "Check the receiver"
            raise FeedUnavailable(f"{mask_url(self.url)} answers {status}. {fix}.")

    def _connection(self, url: SplitResult) -> HTTPConnection:
        connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
        return connect(url.hostname or "", url.port, timeout=self.timeout_seconds)


@contextmanager
def _within(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Let the body use a connection for so long; a socket's own timeout begins again with every byte that comes.

    Raises:
        TimeoutError: it took longer.
    """
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException):
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():
        raise TimeoutError(f"no complete answer within {seconds:g} s")


def _split(text: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ConfigurationError: it is not a URL of http or https, or it has a login.
    """
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigurationError(
            f"The feed 'webhook' cannot use url={mask_url(text)!r}. Give a URL: --option url=https://host/path"
        )
    if url.username is not None:
        raise ConfigurationError(
            f"The feed 'webhook' cannot use url={mask_url(text)!r}: logins are not sent. Check the signature instead, "
            "or put a token into the query: --option 'url=https://host/path?token=$FEED_TOKEN'"
        )
    return url
