"""The broker as its clients see it: connecting, and sending messages to workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from segadmin.errors import BrokerUnavailable
from segadmin.jobs.dispatch import Dispatch, StepMessage
from segadmin.settings import Settings
from segadmin.urls import mask_secrets, mask_url
from segadmin_worker.config import SOCKET_SECONDS, celery_config, secure, tls, transport_problem
from segadmin_worker.redis_keys import explain, wrong_keys

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection, Producer
    from redis import Redis

_REDIS = {"redis", "rediss", "redis+socket"}


@lru_cache(maxsize=4)
def _app(settings: Settings, _process: int) -> Celery:
    """Return an application that imports no task; one per process, because processes must not share connections."""
    from celery import Celery

    app = Celery("segadmin-client", set_as_current=False)
    app.conf.update({**celery_config(settings), "imports": ()})
    return secure(app, settings)


def dispatcher(settings: Settings) -> Dispatch:
    """Return the function that sends messages over the broker of ``settings``."""

    def dispatch(messages: Sequence[StepMessage]) -> None:
        with _producing(settings) as (app, producer):
            for message in messages:
                app.send_task(
                    f"segadmin.{message.stage}",
                    args=[message.step_id],
                    queue=message.queue,
                    priority=9 - message.priority,  # Redis serves the lowest first
                    argsrepr=message.label,
                    kwargsrepr="",
                    producer=producer,
                    retry=False,
                )

    return dispatch


@contextmanager
def connected(settings: Settings) -> Iterator[tuple[Celery, Connection]]:
    """Yield an application that imports no task, and a connection of its own to the broker.

    Raises:
        BrokerUnavailable: the broker does not answer, or stops answering in the body.
    """
    with _available(settings) as app, app.connection_for_write() as connection:
        yield app, connection


@contextmanager
def _producing(settings: Settings) -> Iterator[tuple[Celery, Producer]]:
    """Yield an application and a producer of messages.

    The connection to Redis is kept open, because opening it takes longer than sending many messages; its client
    reconnects when Redis has closed it. The clients of other brokers do not, so each use opens a new connection.

    Raises:
        BrokerUnavailable: see :func:`connected`.
    """
    with _available(settings) as app:
        if urlsplit(settings.celery_broker_url).scheme in _REDIS:
            with app.producer_or_acquire() as producer:
                yield app, producer
        else:
            with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
                yield app, producer


@contextmanager
def _available(settings: Settings) -> Iterator[Celery]:
    """Yield an application after its broker has answered.

    Raises:
        BrokerUnavailable: the broker does not answer, or stops answering in the body.
    """
    from kombu.exceptions import OperationalError
    from redis.exceptions import ResponseError

    if (problem := transport_problem(settings)) is not None:
        raise BrokerUnavailable(problem)
    app = _app(settings, os.getpid())
    # Also the errors of the client library: the connection may be lost between two requests.
    connection_errors = app.connection_for_write().connection_errors
    unavailable: tuple[type[BaseException], ...] = (OperationalError, OSError, ResponseError, *connection_errors)
    try:
        _ping(settings)
        yield app
    except unavailable as error:
        raise BrokerUnavailable(_explain(settings, error)) from error


def _explain(settings: Settings, error: BaseException) -> str:
    from redis.exceptions import AuthenticationError, ResponseError

    reason = mask_secrets(str(error)).rstrip(".")
    if "WRONGTYPE" in reason and (wrong := key_problem(settings)) is not None:
        return wrong
    if isinstance(error, AuthenticationError) or "authenticat" in reason.lower():
        problem, fix = "refuses the login", "Put its user and password into SEGADMIN_BROKER_URL."
    elif isinstance(error.__cause__ or error, ResponseError):
        problem, fix = "refuses messages", "Look at its log and its memory."
    elif "certificate" in reason.lower():
        problem, fix = "cannot be trusted", "Check SEGADMIN_BROKER_CA and the name in SEGADMIN_BROKER_URL."
    elif settings.embedded_broker:
        problem, fix = "does not answer", "Start it: segadmin up --detach"
    else:
        problem, fix = "does not answer", "Start it, or check SEGADMIN_BROKER_URL. Run: segadmin doctor"
    return f"The broker {shown(settings)} {problem}: {reason}. {fix}"


def _ping(settings: Settings) -> None:
    """Contact the broker once, to find out quickly if it is down or does not answer.

    Celery's own client retries for six seconds before it reports an error, and this cannot be configured.

    Raises:
        OSError: the connection is refused.
        redis.RedisError: the server does not answer, or refuses the login.
    """
    address = urlsplit(settings.celery_broker_url)
    ports = {"amqp": 5672, "amqps": 5671}
    if address.hostname and address.scheme in ports:
        endpoint = (address.hostname, address.port or ports[address.scheme])
        socket.create_connection(endpoint, timeout=SOCKET_SECONDS).close()
    elif address.scheme in _REDIS:
        _redis(settings, os.getpid()).ping()


def key_problem(settings: Settings) -> str | None:
    """Return which keys of a Redis broker have wrong types, and the fix; ``None`` if none has, or none can be seen."""
    from redis.exceptions import RedisError

    if urlsplit(settings.celery_broker_url).scheme not in _REDIS:
        return None
    try:
        keys = wrong_keys(_redis(settings, os.getpid()))
    except (RedisError, OSError):
        return None
    return explain(settings, keys) if keys else None


def check_keys(settings: Settings) -> None:
    """Check the types of the keys in a Redis broker; one that does not answer passes.

    Raises:
        BrokerUnavailable: a key has a wrong type; with the command that fixes it.
    """
    if (problem := key_problem(settings)) is not None:
        raise BrokerUnavailable(problem)


@lru_cache(maxsize=4)
def _redis(settings: Settings, _process: int) -> Redis:
    """Return a client that does not retry commands, but reconnects if Redis has closed the connection."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    url = settings.celery_broker_url.replace("redis+socket://", "unix://", 1)
    timeouts = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS}
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts, **tls(settings))


def shown(settings: Settings) -> str:
    """Return the broker URL without its password, for messages."""
    return mask_url(settings.celery_broker_url)
