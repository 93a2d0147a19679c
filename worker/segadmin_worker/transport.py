"""Redis as a worker reads it: what is no message at all is set aside, and an acknowledgement never wedges it.

Kombu parses what it takes from a queue before anybody can look at it, and an error there ends the worker's main
loop. An acknowledgement that Redis does not answer leaves the message counted as being worked on, and with a
prefetch of one the worker then takes no other, ever. Neither is needed: a message only says that a step is ready.
"""

from __future__ import annotations

import json
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.encoding import bytes_to_str

from segadmin_worker.messages import envelope_problem
from segadmin_worker.quarantine import set_aside


class QoS(kombu_redis.QoS):
    """Counts a message as done even where Redis could not be told."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; an unanswered one is delivered again much later, finds nothing to do, and is dropped."""
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            VirtualQoS.ack(self, delivery_tag)
            raise


class Channel(kombu_redis.Channel):
    """Looks at what comes before Kombu does."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> bool:
        """Deliver what BRPOP brought; the same as Kombu's, but for the look at it."""
        try:
            try:
                found = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not found:
                raise Empty
            queue = bytes_to_str(found[0]).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            if problem := envelope_problem(found[1]):
                set_aside(queue, problem, found[1])
                raise Empty
            self.connection._deliver(json.loads(found[1]), queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        """Deliver a remote-control message; those have no queue to be read from again."""
        try:
            return bool(super()._deliver_fanout_message(message, exchange))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            set_aside(exchange, f"not a control message: {error!r}", repr(message))
            raise Empty from None


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport with these channels."""

    Channel = Channel


def install() -> None:
    """Use it wherever this process names Redis as a broker."""
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = f"{__name__}:Transport"
