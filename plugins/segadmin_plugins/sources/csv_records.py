"""Splits CSV into records: where each one begins and ends, on which line, and whether it can be read.

Polars reads cells fast, but rejects a whole file for one bad line, and continues an unclosed quote up to the next
quote. So the structure is detected first, with NumPy over a block of bytes; only records that have as many cells as the
header, are UTF-8 and close their quotes are passed to Polars. A block with quotes that RFC 4180 does not allow
(``5" pipe``), or with escaped quotes, is read line by line with Python's ``csv`` instead.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segadmin_plugins.sources.csv_quoting import strict_width
from segadmin_plugins.sources.csv_shape import RowShape

if TYPE_CHECKING:
    from _csv import Reader

#: A quoted cell over more lines than this has an unclosed quote.
MOST_LINES_IN_A_CELL = 1_000
RAGGED, ENCODING, UNCLOSED = "ragged_row", "bad_encoding", "unclosed_quote"
#: A backslash before a quote inside a cell, in a file without a detected escape character.
ESCAPED = "escaped_quote"
_REASONS = ("", RAGGED, ENCODING)
_LF, _CR, _QUOTE = 10, 13, 34
#: Part of a block that the shape of its rows is taken from.
_SAMPLED_BYTES = 1 << 16

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be read."""

    line: int
    reason: str
    text: str  #: as it is in the file; bytes that are not UTF-8 as hexadecimal escapes


@dataclass(frozen=True)
class Records:
    """The whole records of a block."""

    good: bytes  #: CSV of the records that can be read, each with as many cells as the header
    lines: NDArray[np.int64]  #: the line on which each good record begins
    bad: list[BadRecord]
    size: int  #: bytes of the block that they take; the rest begins another record
    next_line: int  #: the line on which the rest begins
    is_cut: bool = False  #: the rest has more lines that can be read, perhaps faster


@dataclass(frozen=True)
class Layout:
    """The layout of records."""

    separator: str
    columns: int
    escape: str = ""  #: the character before a quote inside a cell, if quotes are not doubled

    def split(self, block: bytes, line: int, *, final: bool, most: int = sys.maxsize) -> Records:
        """Return the whole records at the beginning of ``block``.

        Args:
            block: presumably UTF-8; it begins with a record.
            line: the line on which it begins.
            final: whether it is the last block, so that its last record is whole.
            most: lines to read line by line, if that is necessary, before the rest is tried anew; more than a cell has.
        """
        if final and block and not block.endswith(b"\n"):
            block += b"\n"
        if self.escape and self.escape.encode() in block:
            return self._line_by_line(block, line, final=final, most=most)
        regular = self._if_regular(block, line)
        if regular is not None:
            return regular
        records = self._by_structure(block, line)
        if records is None or (len(block) > records.size and (final or _is_unclosed(block[records.size :]))):
            return self._line_by_line(block, line, final=final, most=most)
        return records

    def cells(self, good: bytes) -> list[list[str]]:
        """Return the cells of good records, read by Python's ``csv``."""
        return list(csv.reader(io.StringIO(good.decode(), newline=""), delimiter=self.separator))

    def _if_regular(self, block: bytes, line: int) -> Records | None:
        """Return the records of a block without quotes, blank lines or errors; None for any other block."""
        whole = block[: block.rfind(b"\n") + 1]
        if not whole or b'"' in whole:
            return None
        signs = np.frombuffer(whole, np.uint8)
        breaks = signs == _LF
        height = int(np.count_nonzero(breaks))
        marks = np.flatnonzero(breaks | (signs == ord(self.separator)))
        ends = marks[self.columns - 1 :: self.columns]
        if len(marks) != height * self.columns or not breaks[ends].all():
            return None
        if b"\r" in whole and np.count_nonzero(signs == _CR) != np.count_nonzero(signs[ends - 1] == _CR):
            return None
        if self.columns == 1 and (np.diff(ends, prepend=-1) <= 2).any():  # perhaps a blank line
            return None
        if not (whole.isascii() or _is_utf8(whole)):
            return None
        return Records(whole, np.arange(line, line + height), [], len(whole), line + height)

    def _by_structure(self, block: bytes, line: int) -> Records | None:
        """Return the records from the positions of quotes, separators and line breaks; None if quotes are ambiguous."""
        signs = np.frombuffer(block, np.uint8)
        breaks = np.flatnonzero(signs == _LF)
        quotes = np.flatnonzero(signs == _QUOTE)
        if not self._are_balanced(signs, quotes):
            return None
        ends = breaks[_outside(quotes, breaks)]
        size = int(ends[-1]) + 1 if len(ends) else 0
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        separators = np.flatnonzero(signs[:size] == ord(self.separator))
        first_breaks = np.searchsorted(breaks, starts)
        if self._swallows_rows(block, breaks, first_breaks, np.searchsorted(breaks, ends)):
            return None
        state = np.zeros(len(ends), np.uint8)
        cells = np.diff(np.searchsorted(separators[_outside(quotes, separators)], ends), prepend=0) + 1
        state[cells != self.columns] = _REASONS.index(RAGGED)
        returns = np.flatnonzero(signs[:size] == _CR)
        stray = returns[signs[returns + 1] != _LF]
        state[np.searchsorted(ends, stray[_outside(quotes, stray)])] = _REASONS.index(RAGGED)
        state[_not_utf8(block, size, ends)] = _REASONS.index(ENCODING)
        lengths = ends - starts
        blank = (lengths == 0) | ((lengths == 1) & (signs[starts] == _CR))
        bad = [
            BadRecord(line + int(first_breaks[i]), _REASONS[state[i]], _text(block[starts[i] : ends[i]]))
            for i in np.flatnonzero((state > 0) & ~blank)
        ]
        keep = (state == 0) & ~blank
        good = block[:size] if keep.all() else _kept_records(block, starts, ends, keep)
        next_line = line + int(np.searchsorted(breaks, size))
        return Records(good, line + first_breaks[keep], bad, size, next_line)

    def _are_balanced(self, signs: NDArray[np.uint8], quotes: NDArray[np.int64]) -> bool:
        """Whether every quote opens a cell, closes one, or is doubled."""
        opening, closing = quotes[0::2], quotes[1::2]
        separator = ord(self.separator)
        before = np.where(opening > 0, signs[opening - 1], _LF)
        if not np.isin(before, (separator, _LF, _QUOTE)).all():
            return False
        after = signs[np.minimum(closing + 1, len(signs) - 1)]
        return bool((np.isin(after, (separator, _LF, _CR, _QUOTE)) | (closing + 1 == len(signs))).all())

    def _swallows_rows(
        self, block: bytes, breaks: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> bool:
        """Whether a cell contains another row: a quote is missing, and a later quote closes the cell.

        Args:
            block: the block.
            breaks: positions of its line ends.
            first: the number of the line on which each record begins.
            last: the number of the line on which it ends.
        """
        several = np.flatnonzero(last > first)
        if not len(several):
            return False
        if (last - first).max() >= MOST_LINES_IN_A_CELL:
            return True
        separators = np.flatnonzero(np.frombuffer(block, np.uint8) == ord(self.separator))
        wide = np.diff(np.searchsorted(separators, breaks), prepend=0) + 1 == self.columns
        before = np.concatenate([[0], np.cumsum(wide)])
        later = before[last[several] + 1] - before[first[several] + 1]
        shape: RowShape | None = None
        for i in several[wide[first[several]] & (later > 0)]:
            shape = shape or self._shape(block)
            begin = breaks[first[i]] + 1
            texts = block[begin : breaks[last[i]]].decode("utf-8", "replace").split("\n")
            if any(shape.fits(text, self.separator) for text in texts):
                return True
        return False

    def _shape(self, block: bytes) -> RowShape:
        """Return the shape of the rows that take one line each."""
        lines = block[:_SAMPLED_BYTES].decode("utf-8", "replace").split("\n")
        closed = (line.rstrip("\r") for line in lines if line.count('"') % 2 == 0)
        return RowShape.of(csv.reader(closed, delimiter=self.separator), self.columns)

    def _line_by_line(self, block: bytes, line: int, *, final: bool, most: int) -> Records:
        """Return the records as Python's ``csv`` reads them; a line with an unclosed quote is a record."""
        rows = block.split(b"\n", most)
        is_cut = b"\n" in rows.pop()  # else it is empty, or a line that is not whole
        good, bad, lines = io.StringIO(), list[BadRecord](), list[int]()
        writer = csv.writer(good, delimiter=self.separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
        shape = self._shape(block)
        index = 0
        while index < len(rows):
            record, taken, reason = self._record(rows, index, shape, final=final and not is_cut)
            if taken == 0:
                break
            if reason:
                bad.append(BadRecord(line + index, reason, _text(b"\n".join(rows[index : index + taken]))))
            elif record:
                writer.writerow(record)
                lines.append(line + index)
            index += taken
        size = sum(len(row) + 1 for row in rows[:index])
        return Records(good.getvalue().encode(), np.array(lines, np.int64), bad, size, line + index, is_cut)

    def _record(self, rows: Sequence[bytes], start: int, shape: RowShape, *, final: bool) -> tuple[list[str], int, str]:
        """Return the record that begins at ``place``: its cells, its number of lines, and the error.

        The number is 0 if the record may continue after the block.
        """
        row = rows[start].decode("utf-8", "surrogateescape")
        record, closed = self._cells_of(row)
        if not self.escape and '\\"' in row and closed and not strict_width(row, self.separator, ""):
            return [], 1, ESCAPED
        taken = 1
        if not closed:
            following = rows[start : start + MOST_LINES_IN_A_CELL]
            whole = self._several_lines(following)
            if whole is None:
                may_go_on = not final and start + len(following) == len(rows) and len(following) < MOST_LINES_IN_A_CELL
                return [], 0 if may_go_on else 1, UNCLOSED
            record, taken = whole
            later = (text.decode("utf-8", "replace") for text in rows[start + 1 : start + taken])
            if row.count(self.separator) + 1 == self.columns and any(
                shape.fits(text, self.separator) for text in later
            ):
                return [], 1, UNCLOSED
        if any("\udc80" <= sign <= "\udcff" for cell in record for sign in cell):
            return [], taken, ENCODING
        return record, taken, "" if len(record) in {0, self.columns} else RAGGED

    def _reader(self, lines: Iterator[str], *, strict: bool = False) -> Reader:
        if self.escape:
            null = _null_pattern(self.separator, self.escape)
            lines = (null.sub("", line) for line in lines)
        return csv.reader(lines, delimiter=self.separator, escapechar=self.escape or None, strict=strict)

    def _cells_of(self, row: str) -> tuple[list[str], bool]:
        """Return the cells of one line, and whether its quotes are closed on it."""
        reader = self._reader(iter([row, ""]))
        try:
            record = next(reader)
        except csv.Error:  # a lone carriage return: no valid width
            return [row] * (self.columns + 1), True
        return record, reader.line_num == 1

    def _several_lines(self, rows: Sequence[bytes]) -> tuple[list[str], int] | None:
        """Return the cells of a record over several lines and their number; None if it is not closed properly.

        Parsing is strict: a quote that closes inside a cell of another line was meant to open that cell.
        """
        lines = (row.decode("utf-8", "surrogateescape") + "\n" for row in rows)
        reader = self._reader(lines, strict=True)
        try:
            record = next(reader)
        except csv.Error:
            return None
        return record, reader.line_num


@lru_cache
def _null_pattern(separator: str, escape: str) -> re.Pattern[str]:
    r"""Return a pattern for NULL as MySQL writes it, such as ``\N``, as a whole cell; elsewhere it is an escaped N."""
    around = re.escape(separator)
    return re.compile(rf"(?<![^{around}]){re.escape(escape)}N(?=[{around}\r\n]|$)")


def _outside(quotes: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which positions lie outside quotes."""
    if not len(quotes):
        return np.ones(len(places), np.bool_)
    outside: NDArray[np.bool_] = np.searchsorted(quotes, places) % 2 == 0
    return outside


def _is_unclosed(rest: bytes) -> bool:
    """Whether an unfinished record has an unclosed quote: it has too many lines."""
    return rest.count(b"\n") > MOST_LINES_IN_A_CELL


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(block: bytes, size: int, ends: NDArray[np.int64]) -> list[int]:
    """Return which records are not UTF-8."""
    if block.isascii():
        return []
    view, bad, offset = memoryview(block)[:size], [], 0
    while offset < size:
        try:
            str(view[offset:], "utf-8")
        except UnicodeDecodeError as error:
            bad.append(int(np.searchsorted(ends, offset + error.start)))
            offset = int(ends[bad[-1]]) + 1
        else:
            break
    return bad


def _kept_records(block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], keep: NDArray[np.bool_]) -> bytes:
    """Return the records to keep, joined run by run."""
    edges = np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8))
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    view = memoryview(block)
    return b"".join(view[starts[first] : ends[last] + 1] for first, last in zip(firsts, lasts, strict=True))


def _text(record: bytes) -> str:
    """Return a record in readable form; undecodable bytes as hexadecimal escapes."""
    record = record.removesuffix(b"\r")
    try:
        text = record.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = record.decode("utf-8", "surrogateescape")
    shown = re.sub("[\udc00-\udcff]", lambda sign: f"\\x{ord(sign[0]) - 0xDC00:02x}", text)
    return shown.encode("utf-8", "backslashreplace").decode()
