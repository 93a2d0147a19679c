"""Reading JSON: a record per line, records one after the other, or lists of records."""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import ClassVar, TextIO

import polars as pl

from segadmin.contracts.source import LINE, NOTE, OTHER, UNREADABLE, UNREADABLE_ROW, Source, has_reserved
from segadmin.errors import ConfigurationError, DataError
from segadmin.events.compression import DAMAGE, open_plain
from segadmin.events.event_limits import BatchLimits, is_too_deep
from segadmin.events.exact_json import cells_of, encode, writable
from segadmin.events.mapping import OPTIONAL, REQUIRED
from segadmin_plugins.sources.json_records import (
    Form,
    Record,
    form_of,
    numbered,
    record_of,
    records_of_document,
    records_of_lines,
)
from segadmin_plugins.sources.json_text import JsonText

#: Most keys that become columns: a frame of 20,000 columns does not fit in memory.
MOST_COLUMNS = 1_000
#: Most cells of a frame, empty ones included, per cell that is not empty; and cells that are free. They bound the
#: memory of a frame by the size of its text, however many different keys its rows have.
_CELLS_PER_VALUE, _FREE_CELLS = 8, 500_000
#: Characters of a column's name that cost as much as its cell: quarantine repeats names in each row.
_NAME_CHARACTERS = 32
#: Most characters of the records of a frame, for files and for posted events.
_FILE_CHARACTERS, _POSTED_CHARACTERS = 2**26, 2**21
#: Names of our fields, which become columns first.
_FIELDS = frozenset(name for fields in (REQUIRED, OPTIONAL) for names in fields.values() for name in names)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
#: Surrogates that replace undecodable bytes.
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class JsonLines(Source):
    """JSON objects: one per line, one after the other, in lists, or in a list in an object; gzip or Zstandard as well.

    Objects may have different keys; those that cannot be read go to quarantine. Numbers keep their digits, and
    the last value of a repeated key counts.
    """

    name: ClassVar[str] = "jsonl"
    suffixes: ClassVar[tuple[str, ...]] = tuple(
        f"{kind}{packed}" for kind in (".jsonl", ".ndjson", ".json") for packed in ("", ".gz", ".zst")
    )
    records: str = ""  #: the key of the list of records, such as data or data.events, where they are in an object
    encoding: str = "utf-8"  #: such as gb18030; UTF-16 is detected by its byte-order mark

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string; a missing key is null."""
        path = Path(where)
        try:
            with self._open(path) as file:
                form = Form(lines=False, path=tuple(self.records.split("."))) if self.records else form_of(file)
            columns = _columns(self._records(path, form), rows)
            with closing(self._records(path, form)) as records:
                for batch in _batches(records, rows, _FILE_CHARACTERS):
                    lines = pl.Series(LINE, [record.line for record in batch], pl.Int64)
                    yield _frame(batch, columns).with_columns(lines)
        except EOFError:
            raise DataError(f"{where} was cut short: its compressed data have no end. Fetch it again.") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{where} is not {error.encoding} throughout. Convert it to UTF-8.") from None
        except DAMAGE as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{where} cannot be read: {reason}.") from None

    def _records(self, path: Path, form: Form) -> Generator[Record]:
        with self._open(path) as file:
            if form.lines:
                yield from records_of_lines(file)
            else:
                yield from numbered(records_of_document(JsonText(file, str(path)), form.path))

    def _open(self, path: Path) -> TextIO:
        """Open the text; an undecodable byte becomes a surrogate."""
        try:
            encoding = codecs.lookup(self.encoding).name
        except LookupError:
            raise ConfigurationError(f"There is no encoding {self.encoding!r}. Try gb18030 or utf-8.") from None
        with open_plain(path) as file:
            begin = file.read(4)
        encoding = next((name for mark, name in _MARKS.items() if begin.startswith(mark)), encoding)
        errors = "surrogatepass" if encoding == "utf-16" else "surrogateescape"
        return io.TextIOWrapper(open_plain(path), encoding=encoding, errors=errors, newline="\n")


def posted_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """Yield the events of one batch, those over a limit with the reason; see :mod:`segadmin.events.event_limits`."""
    limits = BatchLimits()
    for line in lines:
        record = record_of(line.decode("utf-8", "surrogateescape").strip(" \t\r\n\ufeff"))
        if isinstance(record.value, dict):
            reason = limits.problem(record.text, record.value) or note_problem(record.value)
            # As text, lists of numbers take a thirtieth of the memory, and many records are in memory at once.
            record = replace(record, value=cells_of(record.value) if reason is None else None, reason=reason)
        yield record


def note_problem(event: Mapping[str, object]) -> str | None:
    """Return why a live event cannot be read: it has a note of the quarantine, which only files may have."""
    return "reserved_name" if any(name.startswith(NOTE) for name in event) else None


def posted_frames(records: Iterable[Record], rows: int) -> Iterator[pl.DataFrame]:
    """Yield frames of at most ``rows`` rows, a row for each record; columns differ between frames."""
    for batch in _batches(records, rows, _POSTED_CHARACTERS):
        yield frame_of(batch)


def frame_of(records: Sequence[Record]) -> pl.DataFrame:
    """Return a row for each record, with the keys that occur most as columns."""
    # A frame without columns would have no rows either.
    return _frame(records, _columns(records, len(records)) or ["user"])


def _problem(record: Record) -> str | None:
    if not record.text.isascii() and _UNDECODED.search(record.text):
        return "bad_encoding"
    if not isinstance(record.value, dict):
        return record.reason or "not_json"
    if is_too_deep(record.text, record.value):
        return "too_deep"
    return "reserved_name" if has_reserved(record.value) else None


def _cells(record: Record) -> dict[str, str | None]:
    problem = _problem(record)
    if problem is None:
        assert isinstance(record.value, dict)
        return cells_of(record.value)
    return {UNREADABLE: problem, UNREADABLE_ROW: _shown(record.text)}


def _shown(text: str) -> str:
    """Return a text with its undecodable bytes as escapes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # lone surrogates of UTF-16
        return writable(text)


def _batches(records: Iterable[Record], rows: int, characters: int) -> Iterator[list[Record]]:
    """Yield batches of at most ``rows`` records and ``characters`` characters."""
    batch: list[Record] = []
    size = 0
    for record in records:
        if batch and (len(batch) >= rows or size + len(record.text) > characters):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.text)
    if batch:
        yield batch


def _columns(records: Iterable[Record], rows: int) -> list[str]:
    """Return the keys that occur most, in order of appearance: all chunks must have the same columns.

    Args:
        records: all records of the file.
        rows: the most records of a chunk.
    """
    counts: Counter[str] = Counter()
    problems = False
    number = values = 0
    for record in records:
        number += 1
        if isinstance(record.value, dict) and _problem(record) is None:
            counts.update(list(record.value))
            values += len(record.value)
        else:
            problems = True
        if len(counts) > 100 * MOST_COLUMNS:
            counts = Counter(dict(counts.most_common(50 * MOST_COLUMNS)))
    fields = _FIELDS.intersection(counts)
    affordable = _CELLS_PER_VALUE * values / max(1, number) + _FREE_CELLS / max(1, min(number, rows))
    often = [name for name, _ in counts.most_common(MOST_COLUMNS) if name not in fields]
    costs = accumulate((1 + len(name) / _NAME_CHARACTERS for name in often), initial=len(fields))
    kept = fields.union(name for name, cost in zip(often, islice(costs, 1, None), strict=True) if cost <= affordable)
    names = [writable(name) for name in counts if name in kept]
    return names + [OTHER] * (len(counts) > len(kept)) + [UNREADABLE, UNREADABLE_ROW] * problems


def _frame(records: Iterable[Record], columns: Sequence[str]) -> pl.DataFrame:
    rows = map(_cells, records)
    if OTHER in columns:
        rows = map(partial(_gather, frozenset(columns)), rows)
    return pl.DataFrame(list(rows), schema=dict.fromkeys(columns, pl.String))


def _gather(columns: frozenset[str], row: dict[str, str | None]) -> dict[str, str | None]:
    """Return a row with all other keys in one cell."""
    other = {name: cell for name, cell in row.items() if name not in columns and cell is not None}
    kept = {name: cell for name, cell in row.items() if name in columns}
    return {**kept, OTHER: encode(other) if other else None}
