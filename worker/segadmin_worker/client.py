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

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection, Producer
    from redis import Redis

_REDIS = {"redis", "rediss", "redis+socket"}


@lru_cache(maxsize=4)
def _app(settings: Settings, _process: int) -> Celery:
    """Return an application that imports no task; each process has its own, for connections must not be shared."""
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
    with _reached(settings) as app, app.connection_for_write() as connection:
        yield app, connection


@contextmanager
def _producing(settings: Settings) -> Iterator[tuple[Celery, Producer]]:
    """Yield what publishes, over a connection to Redis that is kept open: opening it takes longer than many rings.

    Redis' client opens it anew where Redis has closed it. Those of other brokers do not, so they get one each time.

    Raises:
        BrokerUnavailable: see :func:`connected`.
    """
    with _reached(settings) as app:
        if urlsplit(settings.celery_broker_url).scheme in _REDIS:
            with app.producer_or_acquire() as producer:
                yield app, producer
        else:
            with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
                yield app, producer


@contextmanager
def _reached(settings: Settings) -> Iterator[Celery]:
    """Yield an application whose broker answered just now.

    Raises:
        BrokerUnavailable: the broker does not answer, or stops answering in the body.
    """
    from kombu.exceptions import OperationalError

    if (problem := transport_problem(settings)) is not None:
        raise BrokerUnavailable(problem)
    app = _app(settings, os.getpid())
    # The client's own errors too: a broker may die between two questions.
    connection_errors = app.connection_for_write().connection_errors
    gone: tuple[type[BaseException], ...] = (OperationalError, OSError, *connection_errors)
    try:
        _knock(settings)
        yield app
    except gone as error:
        raise BrokerUnavailable(_explain(settings, error)) from error


def _explain(settings: Settings, error: BaseException) -> str:
    from redis.exceptions import AuthenticationError, ResponseError

    reason = mask_secrets(str(error)).rstrip(".")
    if isinstance(error, AuthenticationError) or "authenticat" in reason.lower():
        said, mend = "refuses the login", "Put its user and password into SEGADMIN_BROKER_URL."
    elif isinstance(error.__cause__ or error, ResponseError):
        said, mend = "refuses messages", "Look at its log and its memory."
    elif "certificate" in reason.lower():
        said, mend = "cannot be trusted", "Check SEGADMIN_BROKER_CA and the name in SEGADMIN_BROKER_URL."
    elif settings.embedded_broker:
        said, mend = "does not answer", "Start it: segadmin up --detach"
    else:
        said, mend = "does not answer", "Start it, or check SEGADMIN_BROKER_URL. Run: segadmin doctor"
    return f"The broker {shown(settings)} {said}: {reason}. {mend}"


def _knock(settings: Settings) -> None:
    """Say one word to the broker, so that one that is down or deaf is known at once.

    Celery's own client tries again for six seconds before it says so, and cannot be told not to.

    Raises:
        OSError: nobody listens.
        redis.RedisError: what listens does not answer, or does not let us in.
    """
    address = urlsplit(settings.celery_broker_url)
    ports = {"amqp": 5672, "amqps": 5671}
    if address.hostname and address.scheme in ports:
        where = (address.hostname, address.port or ports[address.scheme])
        socket.create_connection(where, timeout=SOCKET_SECONDS).close()
    elif address.scheme in _REDIS:
        _redis(settings, os.getpid()).ping()


@lru_cache(maxsize=4)
def _redis(settings: Settings, _process: int) -> Redis:
    """Return a client that tries nothing twice, but opens a connection anew that Redis has closed meanwhile."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    url = settings.celery_broker_url.replace("redis+socket://", "unix://", 1)
    limits = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS}
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **limits, **tls(settings))


def shown(settings: Settings) -> str:
    """Return the broker URL without its password, for messages."""
    return mask_url(settings.celery_broker_url)
