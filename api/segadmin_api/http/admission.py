"""Admission of posted events: what could not be stored soon is refused before the wait grows.

As much work is admitted at a time as is done within the time limit: the amount grows while posts are quicker, and
shrinks when one was slower. A post above it gets 429 with ``Retry-After``; nothing of it was stored, so it can be sent
again. This is the additive increase and multiplicative decrease by which TCP finds how much a network can take (Chiu
and Jain, 1989).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import HTTPException

#: Bytes of a body that take as long as the rest of a post: its answer, its file and its place in the queue.
_UNIT_BYTES = 2**15
#: Units of work that may be in progress, at least and at most.
_LEAST, _MOST = 2.0, 500.0
#: Share of the amount that is kept after a slow post; and the most units of a post that shows that all are slow: a
#: large one takes long by itself.
_DECREASE, _SMALL = 0.8, 2.0
#: Seconds per unit that are assumed before the first post, and the weight of the newest post in the average.
_FIRST_PACE, _WEIGHT = 0.01, 0.05
#: Longest ``Retry-After``, in seconds.
_LONGEST_PAUSE = 30


class Admission:
    """The posts in progress, and how many may be; used only on the event loop."""

    def __init__(self, most_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without posts.

        Args:
            most_seconds: the time limit; a post is always admitted if no other is in progress.
            clock: returns the time in seconds.
        """
        self._most_seconds, self._clock = most_seconds, clock
        #: Units of work that may be in progress, and that are.
        self._amount, self._units = min(_MOST, max(_LEAST, most_seconds / _FIRST_PACE)), 0.0
        self._begun: dict[object, float] = {}  #: post in progress → when it was admitted; the oldest first
        self._decreased_at = self._done_at = self._refused_at = clock()
        self._pace, self._refused = _FIRST_PACE, 0.0  #: seconds per unit; seconds of refused work that comes again

    def check(self, size: int) -> None:
        """Check that a post of so many bytes can be stored soon.

        Raises:
            HTTPException: 429, with the seconds after which to send it again.
        """
        if self._is_full:
            pause = str(self._pause(size))
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
        if not self._begun:
            self._done_at = self._clock()  # nothing was done in between, and nothing was to be done
        self._begun[post] = self._clock()
        self._units += units
        try:
            yield
            self._learn(units, self._begun[post])
        finally:
            del self._begun[post]
            self._units = self._units - units if self._begun else 0.0

    @property
    def _is_full(self) -> bool:
        """Whether as much is in progress as may be, or the oldest post has taken longer than the time limit."""
        oldest = next(iter(self._begun.values()), None)
        return oldest is not None and (self._units >= self._amount or self._clock() - oldest > self._most_seconds)

    def _learn(self, units: float, begun: float) -> None:
        """Change the amount and the pace by a post that is done."""
        now = self._clock()
        self._pace += _WEIGHT * ((now - self._done_at) / units - self._pace)
        self._done_at = now
        if now - begun <= self._most_seconds:
            if self._units > self._amount / 2:  # else it was quick because there was little to do
                self._amount = min(_MOST, self._amount + min(1.0, units / self._amount))
        elif units <= _SMALL and begun >= self._decreased_at:  # those admitted before are slow for the same reason
            self._amount, self._decreased_at = max(_LEAST, self._amount * _DECREASE), now

    def _pause(self, size: int) -> int:
        """Return the seconds after which to send a refused post again: when those refused before it were stored."""
        now = self._clock()
        self._refused = max(0.0, self._refused - (now - self._refused_at)) + self._pace * _units(size)
        self._refused_at = now
        return min(_LONGEST_PAUSE, 1 + int(self._units * self._pace + self._refused))


def _units(size: int) -> float:
    return 1 + size / _UNIT_BYTES
