"""Admission of posted events: what could not be stored soon is refused before the wait grows.

The wait of a new post is the work that was admitted before it, times the seconds that a unit of work took lately. A
post that comes above the limit gets 429 with ``Retry-After``; nothing of it was stored, so it can be sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import HTTPException

#: Bytes of a body that take as long as the rest of a post: its answer, its file and its place in the queue.
_UNIT_BYTES = 2**15
#: Seconds per unit that are assumed before the first post, and the weight of the newest post in the average.
_FIRST_PACE, _WEIGHT = 0.01, 0.1
#: Longest ``Retry-After``, in seconds.
_LONGEST_PAUSE = 30


class Admission:
    """The posts in progress, and how long a further one would wait; used only on the event loop."""

    def __init__(self, most_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without posts.

        Args:
            most_seconds: the longest wait; a post for which there is nothing to wait is always admitted.
            clock: returns the time in seconds.
        """
        self._most, self._clock = most_seconds, clock
        self._pace, self._units = _FIRST_PACE, 0.0
        self._begun: dict[object, float] = {}  #: post in progress → when it was admitted; the oldest first
        self._refused, self._refused_at = 0.0, clock()  #: seconds of refused work that will come again, and as of when

    @property
    def wait(self) -> float:
        """Seconds that a new post would wait: as estimated, or as long as the oldest one has waited already."""
        oldest = next(iter(self._begun.values()), None)
        return 0.0 if oldest is None else max(self._units * self._pace, self._clock() - oldest)

    def check(self, size: int) -> None:
        """Check that a post of so many bytes would not wait for too long.

        Raises:
            HTTPException: 429, with the seconds after which to send it again.
        """
        if (wait := self.wait) > self._most:
            pause = str(self._pause(wait, size))
            detail = f"More events arrive than can be stored at the moment. Send these again in {pause} s."
            raise HTTPException(429, detail, {"Retry-After": pause})

    @contextmanager
    def lease(self, size: int) -> Iterator[None]:
        """Count a post of so many bytes as in progress, from its complete body to its answer.

        Raises:
            HTTPException: see :meth:`check`.
        """
        self.check(size)
        units, post = _units(size), object()
        self._begun[post] = self._clock()
        self._units += units
        waited_for = self._units
        try:
            yield
            seconds = self._clock() - self._begun[post]
            self._pace += _WEIGHT * (seconds / waited_for - self._pace)
        finally:
            del self._begun[post]
            self._units = self._units - units if self._begun else 0.0

    def _pause(self, wait: float, size: int) -> int:
        """Return the seconds after which to send a refused post again: when those refused before it were stored."""
        now = self._clock()
        self._refused = max(0.0, self._refused - (now - self._refused_at)) + self._pace * _units(size)
        self._refused_at = now
        return min(_LONGEST_PAUSE, 1 + int(wait + self._refused))


def _units(size: int) -> float:
    return 1 + size / _UNIT_BYTES
