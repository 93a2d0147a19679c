"""The methods of both clients, made from :mod:`segadmin_api.client.calls`."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel

import segadmin_api.client.calls as calls  # noqa: PLR0402  (by the package, it would be a circle)
from segadmin_api.client.calls import Call

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer", bound=BaseModel)


class Sender:
    """Sends calls and returns their answers."""

    @abstractmethod
    def send(self, call: Call[Answer]) -> Answer:
        """Send a call and return its answer."""


class AsyncSender:
    """Sends calls and returns awaitables of their answers."""

    @abstractmethod
    def send(self, call: Call[Answer]) -> Awaitable[Answer]:
        """Send a call; await its answer."""


class Operation(Generic[Arguments, Answer]):
    """A method of both clients: it makes a call and sends it."""

    def __init__(self, make: Callable[Arguments, Call[Answer]]) -> None:
        self._make, self.__doc__ = make, make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Operation[Arguments, Answer]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[Arguments, Answer]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[Arguments, Awaitable[Answer]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """Return the method of a client."""
        if client is None:
            return self

        @functools.wraps(self._make)
        def method(*arguments: Arguments.args, **options: Arguments.kwargs) -> Any:
            return client.send(self._make(*arguments, **options))

        return method


class Operations:
    """What can be read and asked for; see the functions of the same names in :mod:`segadmin_api.client.calls`."""

    whoami = Operation(calls.whoami)
    list_jobs = Operation(calls.list_jobs)
    show_job = Operation(calls.show_job)
    show_job_logs = Operation(calls.show_job_logs)
    enqueue = Operation(calls.enqueue)
    estimate = Operation(calls.estimate)
    cancel_job = Operation(calls.cancel_job)
    retry_job = Operation(calls.retry_job)
    cancel_jobs = Operation(calls.cancel_jobs)
    retry_jobs = Operation(calls.retry_jobs)
    list_models = Operation(calls.list_models)
    show_model = Operation(calls.show_model)
    compare_models = Operation(calls.compare_models)
    promote_model = Operation(calls.promote_model)
    roll_back_model = Operation(calls.roll_back_model)
    list_canaries = Operation(calls.list_canaries)
    show_canary = Operation(calls.show_canary)
    stop_canary = Operation(calls.stop_canary)
    list_snapshots = Operation(calls.list_snapshots)
    show_snapshot = Operation(calls.show_snapshot)
    compare_snapshots = Operation(calls.compare_snapshots)
    list_members = Operation(calls.list_members)
    export_snapshot = Operation(calls.export_snapshot)
    list_segments = Operation(calls.list_segments)
    show_segment = Operation(calls.show_segment)
    describe_segment = Operation(calls.describe_segment)
    correct_user = Operation(calls.correct_user)
    withdraw_correction = Operation(calls.withdraw_correction)
    show_user = Operation(calls.show_user)
    show_user_text = Operation(calls.show_user_text)
    list_label_sets = Operation(calls.list_label_sets)
    list_schedules = Operation(calls.list_schedules)
