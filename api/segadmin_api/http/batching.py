"""Requests that come at the same time are answered together, and more than can be answered soon are refused."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from segadmin_api.http.threads import ServiceThreads

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")


class TooBusy(Exception):
    """So many requests are waiting that another one would not be answered in time."""


class MicroBatches(Generic[Item, Result]):
    """Collects items while a batch is worked on, and works on those that came meanwhile together.

    There is no delay: an item that comes alone is worked on at once.
    """

    def __init__(self, work: Callable[[Sequence[Item]], list[Result | Exception]], *, most: int, waiting: int) -> None:
        """Make an empty queue.

        Args:
            work: returns the result or the error of each item, in their order; it is called in a thread.
            most: items that are worked on together.
            waiting: items that may wait; further ones are refused.
        """
        self._work, self._most, self._threads = work, most, ServiceThreads(1)
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue(waiting)

    async def result_of(self, item: Item, seconds: float) -> Result:
        """Return the result of ``item``.

        Raises:
            TooBusy: too many items are waiting.
            TimeoutError: it took longer than ``seconds``.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise TooBusy from None
        return await asyncio.wait_for(future, seconds)

    async def run(self) -> None:
        """Work until it is cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._most:
                try:
                    batch.append(self._queue.get_nowait())
                except asyncio.QueueEmpty:
                    break
            waited_for = [(item, future) for item, future in batch if not future.done()]
            if waited_for:
                await self._answer(waited_for)

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        try:
            results = await self._threads.run(self._work, items)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a panic of Polars, say, is no Exception, and must not end the queue
            log.exception("a batch failed", extra={"action": "score"})
            results = [error if isinstance(error, Exception) else RuntimeError(repr(error))] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            with contextlib.suppress(asyncio.InvalidStateError):  # its request ended meanwhile
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
