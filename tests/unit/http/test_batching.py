"""Micro-batches: requests that come together are answered together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from segadmin_api.http.batching import MicroBatches, TooBusy


def run(coroutine: object) -> object:
    return asyncio.run(coroutine)  # type: ignore[arg-type]


def test_items_that_come_while_a_batch_is_worked_on_are_the_next_batch() -> None:
    sizes: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int | Exception]:
        sizes.append(len(items))
        started.set()
        go_on.wait(10)
        return [item * 2 for item in items]

    async def scenario() -> list[int]:
        batches: MicroBatches[int, int] = MicroBatches(work, most=3, waiting=10)
        worker = asyncio.create_task(batches.run())
        first = asyncio.create_task(batches.result_of(0, 10))
        await asyncio.to_thread(started.wait, 10)
        others = [asyncio.create_task(batches.result_of(item, 10)) for item in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        go_on.set()
        results = await asyncio.gather(first, *others)
        worker.cancel()
        return list(results)

    assert run(scenario()) == [0, 2, 4, 6, 8]
    assert sizes == [1, 3, 1]


def test_an_error_of_one_item_does_not_fail_the_others() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("odd") if item % 2 else item for item in items]

    async def scenario() -> None:
        batches: MicroBatches[int, int] = MicroBatches(work, most=9, waiting=9)
        worker = asyncio.create_task(batches.run())
        results = await asyncio.gather(*(batches.result_of(item, 10) for item in range(4)), return_exceptions=True)
        assert [str(result) for result in results] == ["0", "odd", "2", "odd"]
        worker.cancel()

    run(scenario())


def test_an_error_of_a_batch_is_that_of_each_item_and_the_next_batch_goes_on() -> None:
    calls: list[int] = []

    def work(items: Sequence[int]) -> list[int | Exception]:
        calls.append(len(items))
        if len(calls) == 1:
            raise OSError("disk")
        return list(items)

    async def scenario() -> None:
        batches: MicroBatches[int, int] = MicroBatches(work, most=9, waiting=9)
        worker = asyncio.create_task(batches.run())
        with pytest.raises(OSError, match="disk"):
            await batches.result_of(1, 10)
        assert await batches.result_of(2, 10) == 2
        worker.cancel()

    run(scenario())


def test_a_full_queue_refuses_and_a_slow_answer_is_given_up() -> None:
    go_on = threading.Event()

    def work(items: Sequence[int]) -> list[int | Exception]:
        go_on.wait(10)
        return list(items)

    async def scenario() -> None:
        batches: MicroBatches[int, int] = MicroBatches(work, most=1, waiting=1)
        worker = asyncio.create_task(batches.run())
        begun = asyncio.create_task(batches.result_of(1, 10))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(batches.result_of(2, 0.05))
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            await batches.result_of(3, 10)
        with pytest.raises(TimeoutError):
            await waiting
        go_on.set()
        assert await begun == 1
        began = time.monotonic()
        assert await batches.result_of(4, 10) == 4  # the one that was given up is not worked on
        assert time.monotonic() - began < 5
        worker.cancel()

    run(scenario())


def test_a_panic_does_not_end_the_queue() -> None:
    class Panic(BaseException):
        """As Polars raises it."""

    def work(items: Sequence[int]) -> list[int | Exception]:
        if items[0] == 13:
            raise Panic("unreachable code")
        return list(items)

    async def scenario() -> None:
        batches: MicroBatches[int, int] = MicroBatches(work, most=1, waiting=9)
        worker = asyncio.create_task(batches.run())
        with pytest.raises(RuntimeError, match="unreachable code"):
            await batches.result_of(13, 10)
        assert await batches.result_of(1, 10) == 1
        worker.cancel()

    run(scenario())
