"""What enqueuers use: ringing workers over the broker."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from segadmin.errors import BrokerUnavailable
from segadmin.jobs.ring import Bell, Ring
from segadmin.settings import Settings
from segadmin_worker.config import SOCKET_SECONDS, celery_config

if TYPE_CHECKING:
    from celery import Celery


@lru_cache(maxsize=4)
def _producer(settings: Settings) -> Celery:
    """Return an application that only publishes: it imports no task."""
    from celery import Celery

    app = Celery("segadmin-producer", set_as_current=False)
    app.conf.update({**celery_config(settings), "imports": ()})
    return app


def ring_over(settings: Settings) -> Ring:
    """Return the function that rings workers over the broker of ``settings``."""

    def ring(bells: Sequence[Bell]) -> None:
        from kombu.exceptions import OperationalError

        app = _producer(settings)
        try:
            _knock(settings)
            with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
                for bell in bells:
                    app.send_task(
                        f"segadmin.{bell.stage}",
                        args=[bell.step_id],
                        queue=bell.queue,
                        priority=9 - bell.priority,  # Redis serves the lowest first
                        argsrepr=bell.label,
                        kwargsrepr="",
                        producer=producer,
                        retry=False,
                    )
        except (OperationalError, OSError) as error:
            raise BrokerUnavailable(
                f"The broker {shown(settings)} does not answer: {error}. Start it (segadmin up), "
                "or check SEGADMIN_BROKER_URL; segadmin doctor tells more."
            ) from error

    return ring


def _knock(settings: Settings) -> None:
    """Open and close a bare connection, so that a broker that is down is known at once.

    The Redis client tries again for six seconds before it says so, and Celery cannot tell it not to.

    Raises:
        OSError: nobody listens.
    """
    if settings.embedded_broker:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(SOCKET_SECONDS)
            line.connect(str(settings.redis_socket))
        return
    address = urlsplit(settings.broker_url)
    ports = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
    if address.hostname and address.scheme in ports:
        where = (address.hostname, address.port or ports[address.scheme])
        socket.create_connection(where, timeout=SOCKET_SECONDS).close()


def shown(settings: Settings) -> str:
    """Return the broker URL without its password, for messages."""
    from kombu.utils.url import maybe_sanitize_url

    return str(maybe_sanitize_url(settings.celery_broker_url))
