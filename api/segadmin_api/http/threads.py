"""Threads of their own for what services wait for: posted events, scores, segments, and the keys of all requests.

Other routes share the usual threads. Slow pages, exports or checks may use all of those for a minute, and the events of
a shop must not wait for them.

Both are few. Threads that compute share the GIL: with the forty that are usual, a process that has more to do than it
can spends its time on switching, and everybody waits for seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

#: Of services, and as many again of the other routes.
_THREADS = 8
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def limit_usual_threads() -> None:
    """Let the routes that are no services have few threads; to be called in the event loop."""
    to_thread.current_default_thread_limiter().total_tokens = _THREADS


class ServiceThreads:
    """The threads of an application."""

    def __init__(self, most: int = _THREADS) -> None:
        self._limiter = CapacityLimiter(most)

    async def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **options: Parameters.kwargs
    ) -> Result:
        """Return what ``function`` returns, which is called in one of these threads."""
        return await to_thread.run_sync(partial(function, *args, **options), limiter=self._limiter)
