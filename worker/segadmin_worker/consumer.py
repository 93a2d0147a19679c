"""The worker's consumer: runs only messages that :mod:`segadmin_worker.client` sends, and quarantines others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.message import Message

from segadmin_worker.messages import task_problem
from segadmin_worker.quarantine import set_aside

log = logging.getLogger(__name__)


class Consumer(CeleryConsumer):
    """Validates every message before it becomes a task request."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """Return Celery's handler, preceded by the validation."""
        handle = super().create_task_handler(*args, **kwargs)

        def validated(message: Message) -> None:
            if problem := task_problem(message, self.strategies):
                self._set_aside(message, problem)
            else:
                handle(message)

        return validated

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Quarantine a message that Celery could not decode."""
        self._set_aside(message, f"it cannot be decoded: {exc!r}")

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Quarantine a message that Celery considers invalid."""
        self._set_aside(message, f"it is not a valid task: {exc!r}")

    def on_unknown_message(self, body: Any, message: Message) -> None:
        """Quarantine a message that is not a task message."""
        self._set_aside(message, "it is not a task message")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Quarantine a message for a task that is not registered."""
        self._set_aside(message, f"there is no task {exc}")

    def _set_aside(self, message: Message, problem: str) -> None:
        delivery = message.delivery_info or {}
        content = {"headers": message.headers, "body": _text(message.body)}
        set_aside(str(delivery.get("routing_key") or "?"), problem, json.dumps(content, default=repr))
        message.ack_log_error(log, self.connection_errors)


def _text(body: Any) -> str:
    return body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else str(body)
