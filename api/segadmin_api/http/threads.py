"""Three kinds of threads: of services, of changes, and of pages and answers.

Slow pages or checks may use all of their threads for a minute, and the events of a shop must not wait for them. Changes
may wait for jobs for minutes, as an erasure does, and no page must wait for them. So services (posted events, scores,
segments, and the keys of all requests) and changes have threads of their own.

All are few. Threads that compute share the GIL: with the forty that are usual, a process that has more to do than it
can spends its time on switching, and everybody waits for seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi.routing import APIRoute

#: Threads that mostly wait, of services and of changes; and those of pages and answers, which mostly compute.
_WAITING, _COMPUTING = 8, 4
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_of_changes: RunVar[CapacityLimiter] = RunVar("segadmin_threads_of_changes")


def limit_usual_threads() -> None:
    """Let the routes that read have few threads; to be called in the event loop."""
    to_thread.current_default_thread_limiter().total_tokens = _COMPUTING


class ServiceThreads:
    """The threads of an application's services."""

    def __init__(self, most: int = _WAITING) -> None:
        self._limiter = CapacityLimiter(most)

    async def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **options: Parameters.kwargs
    ) -> Result:
        """Return what ``function`` returns, which is called in one of these threads."""
        return await to_thread.run_sync(partial(function, *args, **options), limiter=self._limiter)


class ThreadedRoute(APIRoute):
    """A route that runs in a thread of changes if it changes something, and in a usual one else."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if not iscoroutinefunction(endpoint):
            reads = SAFE.issuperset(options.get("methods") or SAFE)
            endpoint = self.of_reading(endpoint) if reads else _in_threads_of_changes(endpoint)
        super().__init__(path, endpoint, **options)

    @staticmethod
    def of_reading(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        """Return what a route that only reads calls in its thread."""
        return endpoint


def _in_threads_of_changes(function: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    @wraps(function)
    async def run(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
        return await to_thread.run_sync(partial(function, *args, **options), limiter=_limiter_of_changes())

    return run


def _limiter_of_changes() -> CapacityLimiter:
    """Return the limiter of the running event loop."""
    try:
        return _of_changes.get()
    except LookupError:
        _of_changes.set(limiter := CapacityLimiter(_WAITING))
        return limiter
