"""Working with as many rows at a time as fit in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from segadmin.device_memory import is_out_of_memory, out_of_memory, release_memory
from segadmin.errors import OutOfMemory

Result = TypeVar("Result")
log = logging.getLogger(__name__)


def with_smaller_batches(
    rows: int,
    work: Callable[[int], Result],
    smaller: Callable[[int], None],
    *,
    what: str,
    advice: str = "",
    least: int = 1,
    unit: str = "user",
) -> tuple[Result, int]:
    """Return the result of ``work(rows)`` and the number of rows; out of memory, it is retried with half of them.

    The rows are halved as often as needed, down to ``least``. The memory of a failed attempt is released before
    the next, so ``work`` must create all large objects itself.

    Args:
        rows: number of rows to begin with.
        work: called with a number of rows.
        smaller: called before each further attempt, with its number of rows.
        what: the activity, for messages, such as ``training``.
        advice: what to change if even ``least`` rows do not fit.
        least: the fewest rows; only multiples of it are tried.
        unit: what a row is, for messages.

    Raises:
        OutOfMemory: the memory is too small for the fewest rows.
    """
    size = rows
    while True:
        try:
            result = work(size)
        except (RuntimeError, MemoryError, OutOfMemory) as error:
            if not is_out_of_memory(error):
                raise
            if size <= least:
                raise out_of_memory(
                    f"Out of memory in {what} with {_counted(size, unit)} at a time.", advice
                ) from error
        else:
            if size < rows:
                log.warning(
                    "out of memory in %s with %s at a time; %d fit",
                    what,
                    _counted(rows, unit),
                    size,
                    extra={"action": "memory"},
                )
            return result, size
        # Outside of the except block: there the exception still holds the frames of the failed attempt, and with them
        # all of its tensors.
        release_memory()
        size = max(size // 2 // least, 1) * least
        smaller(size)


def _counted(rows: int, unit: str) -> str:
    return f"one {unit}" if rows == 1 else f"{rows} {unit}s"
