"""Queries to the broker: whether it answers, which workers run, and how long the queues are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.exceptions import ChannelError

from segadmin.settings import Settings
from segadmin_worker import redis_keys
from segadmin_worker.client import check_keys, connected

QUEUES = redis_keys.QUEUES


def ping(settings: Settings) -> None:
    """Connect to the broker once, and check its keys.

    Raises:
        BrokerUnavailable: it does not answer within seconds, or workers cannot use it.
    """
    with _connection(settings):
        pass
    check_keys(settings)


def workers(settings: Settings, seconds: float = 1.0, nodenames: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the workers that answer within ``seconds``, each with its queues.

    With ``nodenames``, only those are asked, and the call returns as soon as all have answered.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    with _connection(settings) as (app, connection):
        inspect = app.control.inspect(
            timeout=seconds,
            connection=connection,
            destination=list(nodenames) or None,
            limit=len(nodenames) or None,
        )
        answers = inspect.active_queues() or {}
    return {name: [queue["name"] for queue in queues] for name, queues in sorted(answers.items())}


def queue_lengths(settings: Settings) -> dict[str, int]:
    """Return the number of messages in each queue.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    with _connection(settings) as (_, connection):
        return {queue: _length(connection, queue) for queue in QUEUES}


def _length(connection: Connection, queue: str) -> int:
    channel: Any = connection.channel()
    with channel:
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except ChannelError:  # the queue does not exist yet
            return 0


@contextmanager
def _connection(settings: Settings) -> Iterator[tuple[Celery, Connection]]:
    with connected(settings) as (app, connection):
        connection.ensure_connection(max_retries=1, interval_start=0)
        yield app, connection
