"""Adding the records of the feed to a Redis stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import redis

from segadmin.contracts.feed import Feed, FeedBatch
from segadmin.errors import ConfigurationError, FeedUnavailable
from segadmin.settings import Settings
from segadmin.urls import fill_in, mask_secrets, mask_url

_SCHEMES = ("redis", "rediss", "unix")
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class RedisStreamFeed(Feed):
    """A stream with an entry for each record; its id is ``<sequence>-<position>``, so that none is added twice.

    Ids of a stream ascend, and a batch is added in one transaction: an entry whose id is not above the last one is
    there already. A field that would be null is missing. Nothing but this feed may add to the stream.
    """

    name: ClassVar[str] = "redis-stream"
    stream: str = "segadmin:changes"
    url: str = ""  #: empty: the Redis that is the broker; a password only as $NAME
    maxlen: int = 0  #: the stream keeps the latest so many entries; 0: all

    def with_settings(self, settings: Settings) -> Self:
        """Return the feed with the URL of the broker, if it has none of its own."""
        return self if self.url else replace(self, url=settings.celery_broker_url.replace("redis+socket://", "unix://"))

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigurationError: the URL is no URL of a Redis, or ``maxlen`` is negative.
        """
        if not self.url.startswith("$") and self.url.partition("://")[0] not in _SCHEMES:
            raise ConfigurationError(
                f"The feed 'redis-stream' cannot use url={mask_url(self.url)!r}. Give it a Redis: "
                "--option 'url=redis://:$REDIS_PASSWORD@host:6379/0'"
            )
        if self.maxlen < 0:
            raise ConfigurationError(f"The feed 'redis-stream' cannot use maxlen={self.maxlen}: give 0 to keep all.")

    def deliver(self, batch: FeedBatch) -> None:
        """Add the records of ``batch`` that are not in the stream yet, in one transaction.

        Raises:
            FeedUnavailable: Redis does not answer, or another program adds to the stream.
        """
        with self._connected() as client:
            last = self._last(client, batch.feed)
            pipeline = client.pipeline(transaction=True)
            for record in batch.records:
                entry = (batch.sequence, int(record["position"]))
                if entry > last:
                    place = "{}-{}".format(*entry)
                    fields = _fields(batch.feed, record)
                    pipeline.xadd(self.stream, fields, id=place, maxlen=self.maxlen or None, approximate=False)
            pipeline.execute()

    def received(self, feed: str) -> tuple[int, int] | None:
        """Return the id of the last entry; ``None`` if there is no stream, which then begins with the next record.

        Raises:
            FeedUnavailable: see :meth:`deliver`.
        """
        with self._connected() as client:
            last = self._last(client, feed)
        return None if last == (0, 0) else last

    @contextmanager
    def _connected(self) -> Iterator[redis.Redis]:
        try:
            with closing(self._client()) as client:
                yield client
        except (redis.RedisError, TypeError) as error:  # a TypeError: the URL has an unknown option
            reason = mask_secrets(str(error).rstrip("."))
            raise FeedUnavailable(
                f"The stream {self.stream} at {mask_url(self.url)} takes no records: {reason}. Check Redis and the URL."
            ) from None

    def _client(self) -> redis.Redis:
        timeouts = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS}
        try:
            return redis.Redis.from_url(fill_in(self.url), decode_responses=True, **timeouts)
        except ValueError:  # its message repeats parts of the URL
            raise ConfigurationError(
                f"{mask_url(self.url)!r} is not a URL such as redis://:$PASSWORD@host:6379/0."
            ) from None

    def _last(self, client: redis.Redis, feed: str) -> tuple[int, int]:
        """Return the id of the last entry that was added; (0, 0): none was."""
        if not client.exists(self.stream):
            return (0, 0)
        newest: Any = client.xrevrange(self.stream, count=1)
        for entry, fields in newest:
            if fields.get("feed") != feed or f"{fields.get('sequence')}-{fields.get('position')}" != entry:
                raise FeedUnavailable(
                    f"The stream {self.stream} has the entry {entry}, which the feed {feed} did not add. "
                    "Add a feed with another stream: --option stream=NAME"
                )
        facts: Any = client.xinfo_stream(self.stream)
        sequence, _, position = str(facts["last-generated-id"]).partition("-")
        return int(sequence), int(position)


def _fields(feed: str, record: Mapping[str, Any]) -> dict[Any, Any]:
    """Return the fields of an entry; one that would be null is missing."""
    return {"feed": feed} | {name: str(value) for name, value in record.items() if value is not None}
