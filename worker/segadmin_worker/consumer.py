"""The worker's consumer: runs exactly the messages that :mod:`segadmin_worker.client` sends, and sets others aside."""

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
    """Looks at every message before it becomes a request."""

    def create_task_handler(self, *arguments: Any, **more: Any) -> Callable[[Message], None]:
        """Return Celery's handler behind the look."""
        handle = super().create_task_handler(*arguments, **more)

        def checked(message: Message) -> None:
            if problem := task_problem(message, self.strategies):
                self._set_aside(message, problem)
            else:
                handle(message)

        return checked

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Set aside what Celery itself could not decode."""
        self._set_aside(message, f"it cannot be decoded: {exc!r}")

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Set aside what Celery itself took for invalid."""
        self._set_aside(message, f"it is not a valid task: {exc!r}")

    def on_unknown_message(self, body: Any, message: Message) -> None:
        """Set aside what is no task message."""
        self._set_aside(message, "it is not a task message")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Set aside a task that nobody registered."""
        self._set_aside(message, f"there is no task {exc}")

    def _set_aside(self, message: Message, problem: str) -> None:
        place = message.delivery_info or {}
        whole = {"headers": message.headers, "body": _text(message.body)}
        set_aside(str(place.get("routing_key") or "?"), problem, json.dumps(whole, default=repr))
        message.ack_log_error(log, self.connection_errors)


def _text(body: Any) -> str:
    return body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else str(body)
