"""Reading live events from a Redis stream."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import polars as pl
import redis

from segadmin.contracts.source import Source
from segadmin.errors import ConfigurationError, DataError
from segadmin.events.exact_json import encode
from segadmin.urls import fill_in, mask_secrets, mask_url
from segadmin_plugins.sources.json_records import Record, record_of
from segadmin_plugins.sources.jsonl import frame_of, note_problem

#: Entries requested at a time.
_AT_ONCE = 10_000
_Entries = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True)
class RedisStream(Source):
    """A stream that a shop adds events to: ``XADD shop:events * user u1 kind view item a at 2026-01-01``.

    A field ``json`` may hold the whole event instead. An entry is acknowledged once it is on disk, so none is
    lost; one that is delivered again is recognised by its id. Reading ends after ``idle_seconds`` without new entries.
    """

    name: ClassVar[str] = "redis"
    schemes: ClassVar[tuple[str, ...]] = ("redis", "rediss", "unix")
    consumes: ClassVar[bool] = True
    stream: str = "segadmin:events"
    group: str = "segadmin"
    idle_seconds: float = 1.0

    def identity(self, where: str) -> str:
        """Return the name of the stream: entries that were read but not stored belong to the next import."""
        return f"stream:{self.stream}:{self.group}"

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield entries, first those delivered to an import that was interrupted."""
        try:
            client = redis.Redis.from_url(fill_in(where), decode_responses=True, encoding_errors="backslashreplace")
        except ValueError:  # its message repeats parts of the URL
            raise ConfigurationError(
                f"{mask_url(where)!r} is not a URL such as redis://:$PASSWORD@host:6379/0."
            ) from None
        try:
            self._join(client)
            # One import runs at a time, so this one takes over the pending entries of all consumers.
            consumer = socket.gethostname()
            for entries in itertools.chain(self._pending(client, consumer, rows), self._new(client, consumer, rows)):
                yield self._frame(entries)
                client.xack(self.stream, self.group, *(entry for entry, _ in entries))
        except (redis.RedisError, TypeError) as error:  # a TypeError: the URL has an unknown option
            if "WRONGTYPE" in str(error):
                raise DataError(
                    f"The key {self.stream!r} at {mask_url(where)} is not a stream. Name the stream: -o stream=NAME"
                ) from None
            reason = mask_secrets(str(error).rstrip("."))
            raise DataError(
                f"The stream {self.stream} at {mask_url(where)} cannot be read: {reason}. Check the URL."
            ) from None
        finally:
            client.close()

    def _join(self, client: redis.Redis) -> None:
        try:
            client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _pending(self, client: redis.Redis, consumer: str, rows: int) -> Iterator[_Entries]:
        start: Any = "0-0"
        while True:
            start, entries, *_ = client.xautoclaim(
                self.stream, self.group, consumer, 0, start, count=min(rows, _AT_ONCE)
            )
            if present := [(entry, fields) for entry, fields in entries if fields is not None]:
                yield present
            if start == "0-0":
                return

    def _new(self, client: redis.Redis, consumer: str, rows: int) -> Iterator[_Entries]:
        block = int(self.idle_seconds * 1000)
        while True:
            streams: Any = client.xreadgroup(
                self.group, consumer, {self.stream: ">"}, count=min(rows, _AT_ONCE), block=block
            )
            if not streams:
                return
            yield [entry for _, entries in streams for entry in entries]

    def _frame(self, entries: _Entries) -> pl.DataFrame:
        # Another stream may use the same ids within one millisecond.
        return frame_of([_record(f"{self.stream}:{entry}", fields) for entry, fields in entries])


def _record(event_id: str, fields: dict[str, str]) -> Record:
    event = record_of(fields["json"]) if "json" in fields else None
    if event is None or not isinstance(event.value, dict):
        event = Record(0, encode(fields), fields)
    assert isinstance(event.value, dict)
    reason = note_problem(event.value)
    return replace(event, value=None if reason else {"event_id": event_id, **event.value}, reason=reason)
