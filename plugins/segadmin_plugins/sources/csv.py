"""Reading CSV files."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

import polars as pl

from segadmin.contracts.source import LINE, NOTE, UNREADABLE, UNREADABLE_ROW, Source
from segadmin.errors import DataError
from segadmin.events.compression import DAMAGE, open_plain
from segadmin_plugins.sources.csv_dialect import FIRST, SEPARATORS, Dialect, dialect_of, encoding_of, utf8_blocks
from segadmin_plugins.sources.csv_quoting import NONE, QUOTE, Quotes, escape_of
from segadmin_plugins.sources.csv_records import BadRecord, Layout, Records

_MARK = codecs.BOM_UTF8
#: A line like the header, where exports were put together.
REPEATED_HEADER = "repeated_header"


@dataclass(frozen=True)
class Csv(Source):
    """CSV with a header or, with ``header``, without one; compressed (gzip, Zstandard) as well. Tabs in ``.tsv``.

    Records that cannot be read go to quarantine, wherever they are: with another number of cells than the header, not
    in the encoding, or with a quote that is not closed. So does a header that comes again. All others are read.
    """

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".csv.gz", ".csv.zst", ".tsv.gz", ".tsv.zst")
    typed: ClassVar[bool] = False
    block_bytes: ClassVar[int] = 8 << 20  #: read and taken apart at a time
    separator: str = ""  #: default: what separates most lines into as many cells as the first
    encoding: str = ""  #: such as gb18030 or utf-16; default: by the byte order mark, else utf-8
    header: str | tuple[str, ...] = ""  #: the columns' names, where the file has no header: user,item or a list
    skip: int = 0  #: how many lines, such as a report's title, stand above the header
    quote: str = ""  #: what quotes cells, or none; default: ", or ' where whole columns are in apostrophes
    escape: str = ""  #: what stands before a quote inside a cell, or none; default: \ where lines are right only so

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string, and their lines."""
        path = Path(where)
        try:
            yield from _of_size(self._frames(path), rows)
        except DAMAGE as error:
            raise DataError(f"{path} cannot be read as CSV: {error}.") from None

    def _frames(self, path: Path) -> Iterator[pl.DataFrame]:
        with open_plain(path) as file:
            head = file.read(64)
            encoding = encoding_of(head, self.encoding, str(path))
        with open_plain(path) as file:
            blocks = utf8_blocks(file, encoding, self.block_bytes)
            start = next(blocks, b"")
            if b"\n" not in start and b"\r" in start:  # an old Mac's line ends
                blocks = (block.replace(b"\r", b"\n") for block in blocks)
                start = start.replace(b"\r", b"\n")
            # How a file from quarantine is written is known: its apostrophes, for one, stand before formulas.
            is_export = NOTE.encode() in start.partition(b"\n")[0]
            quotes = Quotes.of(start, self.quote or is_export * QUOTE, self.separator or SEPARATORS)
            header = self.header or is_export * FIRST
            if not quotes.is_usual:
                start, blocks = next(quotes.swap([start])), quotes.swap(blocks)
            dialect = dialect_of(
                start, str(path), encoding=encoding, separator=self.separator, header=header, skip=self.skip
            )
            escape = escape_of(start, self.escape or is_export * NONE, dialect.separator, len(dialect.columns))
            layout = Layout(dialect.separator, len(dialect.columns), escape)
            start = start[dialect.skipped_bytes :]
            for records in _records(chain([start], blocks), layout, dialect.first_line):
                yield _frame(records, layout, dialect, quotes)


def _records(blocks: Iterator[bytes], layout: Layout, line: int) -> Iterator[Records]:
    """Yield the whole records of each block."""
    rest = b""
    for block in blocks:
        text = _without_marks(rest + block)
        records = layout.split(text, line, final=False)
        rest, line = text[records.size :], records.next_line
        yield records
    if rest:
        yield layout.split(rest, line, final=True)


def _without_marks(text: bytes) -> bytes:
    """Return a text without the byte order marks before its lines, which files that were put together have."""
    if text.isascii() or _MARK not in text:
        return text
    return text.removeprefix(_MARK).replace(b"\n" + _MARK, b"\n")


def _frame(records: Records, layout: Layout, dialect: Dialect, quotes: Quotes) -> pl.DataFrame:
    """Return the rows of a block in their order, those that cannot be read with the reason."""
    rows = _cells(records, layout, dialect.columns).with_columns(pl.Series(LINE, records.lines, dtype=pl.Int64))
    if not quotes.is_usual:
        rows = quotes.swap_back(rows)
    rows, repeated = _without_headers(rows, dialect)
    bad = [*records.bad, *repeated]
    if not bad:
        return rows
    texts = [record.text if quotes.is_usual else quotes.swap_text(record.text) for record in bad]
    unreadable = pl.DataFrame(
        {
            LINE: [record.line for record in bad],
            UNREADABLE: [record.reason for record in bad],
            UNREADABLE_ROW: texts,
        },
        schema_overrides={LINE: pl.Int64},
    )
    return pl.concat([rows, unreadable], how="diagonal").sort(LINE)


def _without_headers(rows: pl.DataFrame, dialect: Dialect) -> tuple[pl.DataFrame, list[BadRecord]]:
    """Return the rows that are not the header once more, and those that are."""
    names = {column: name for column, name in zip(dialect.columns, dialect.names, strict=True) if name}
    if len(names) < 2:  # hardly enough to tell
        return rows, []
    first, name = next(iter(names.items()))
    places = (rows[first] == name).arg_true()
    if places.is_empty():
        return rows, []
    again = [place for place in places if all(rows[column][place] == name for column, name in names.items())]
    text = dialect.separator.join(dialect.names)
    repeated = [BadRecord(rows[LINE][place], REPEATED_HEADER, text) for place in again]
    return rows.filter(pl.repeat(value=True, n=rows.height, eager=True).scatter(again, values=False)), repeated


def _cells(records: Records, layout: Layout, columns: list[str]) -> pl.DataFrame:
    """Return the cells of the good records: what Polars reads, unless that is something else than is there."""
    schema = dict.fromkeys(columns, pl.String())
    with suppress(pl.exceptions.PolarsError):
        rows = pl.read_csv(records.good, has_header=False, schema=schema, separator=layout.separator)
        if rows.height == len(records.lines):
            return rows
    cells = [[cell or None for cell in record] for record in layout.cells(records.good)]
    return pl.DataFrame(cells, schema=schema, orient="row")


def _of_size(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of ``rows``, of which only the last is smaller."""
    waiting: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        waiting.append(frame)
        height += frame.height
        while height >= rows:
            together = pl.concat(waiting, how="diagonal")
            yield together.head(rows)
            waiting, height = [together.tail(-rows)], height - rows
    if height:
        yield pl.concat(waiting, how="diagonal")
