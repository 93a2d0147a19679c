"""Kombu's Redis transport, made robust against malformed messages and lost acknowledgements.

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
    """Counts a message as acknowledged even if Redis does not answer."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; without an answer it is delivered again much later, and then ignored."""
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            VirtualQoS.ack(self, delivery_tag)
            raise


class Channel(kombu_redis.Channel):
    """Validates messages before Kombu parses them."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> bool:
        """Deliver the result of BRPOP; the same as Kombu's method, with validation added."""
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not reply:
                raise Empty
            queue = bytes_to_str(reply[0]).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            if problem := envelope_problem(reply[1]):
                set_aside(queue, problem, reply[1])
                raise Empty
            self.connection._deliver(json.loads(reply[1]), queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        """Deliver a remote-control message; a malformed one is quarantined."""
        try:
            return bool(super()._deliver_fanout_message(message, exchange))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            set_aside(exchange, f"not a control message: {error!r}", repr(message))
            raise Empty from None


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport with these channels."""

    Channel = Channel


def install() -> None:
    """Use this transport for all Redis brokers of this process."""
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = f"{__name__}:Transport"
