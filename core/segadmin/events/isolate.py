"""Cleaning of live events: a row that raises an error goes to quarantine, and does not keep others from the lake.

A file with such a row can be corrected and imported again. A queue has no end and nobody who waits for the error, and
its next import would meet the same row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from segadmin.errors import ConfigurationError, StorageError
from segadmin.events.clean import Cleaned
from segadmin.events.row_checks import PROBLEM

#: Errors that no row causes: of the settings, the mapping, the database, the disk, the memory.
_ELSEWHERE = (ConfigurationError, StorageError, OSError, MemoryError)
#: Reason of rows that raise an error, whose text is the value.
FAILED = "failed"
#: Most characters of an error's text.
_LONGEST = 200
Clean = Callable[[pl.DataFrame, int], Cleaned]


def clean_each(rows: pl.DataFrame, first_line: int, clean: Clean) -> Cleaned:
    """Return the cleaned rows; those that raise an error are unusable, with the reason :data:`FAILED`.

    Rows are divided in halves until the error is that of one row, so a row costs as many calls as its number of rows
    has binary digits.

    Args:
        rows: of a queue, as text.
        first_line: line number of the first row.
        clean: cleans rows, from their first line on. It also takes a frame without rows and columns.

    Raises:
        ConfigurationError, StorageError, OSError, MemoryError: from ``clean``; no row causes them.
    """
    try:
        return clean(rows, first_line)
    except _ELSEWHERE:
        raise
    except (Exception, pl.exceptions.PanicException):
        none = clean(pl.DataFrame(), first_line)
        return _joined([none, *_parts(rows, first_line, clean, none)])


def _parts(rows: pl.DataFrame, first_line: int, clean: Clean, none: Cleaned) -> Iterator[Cleaned]:
    """Yield the cleaned rows in parts; a column that is empty in a part may be what is wrong, so it is left out."""
    rows = rows.select([column for column in rows if column.null_count() < rows.height] or rows.columns[:1])
    try:
        yield clean(rows, first_line)
    except _ELSEWHERE:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        if rows.height <= 1:
            yield Cleaned(none.good, _problem(first_line, error), Counter())
            return
        half = rows.height // 2
        yield from _parts(rows.head(half), first_line, clean, none)
        yield from _parts(rows.tail(-half), first_line + half, clean, none)


def _problem(line: int, error: BaseException) -> pl.DataFrame:
    text = f"{type(error).__name__}: {error}"
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return pl.DataFrame({"line": [line], "reason": [FAILED], "column": [None], "value": [shown]}, schema=PROBLEM)


def _joined(parts: Sequence[Cleaned]) -> Cleaned:
    """Return the parts as one; the numbers are those of the last part that was cleaned."""
    return Cleaned(
        pl.concat([part.good for part in parts]),
        pl.concat([part.bad for part in parts]).sort("line"),
        sum((part.changes for part in parts), Counter[str]()),
        next(part.numbers for part in reversed(parts) if part.numbers),
        sum(part.ignored for part in parts),
        sum((part.statuses for part in parts), Counter[str]()),
    )
