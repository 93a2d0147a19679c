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
from segadmin_plugins.sources.csv_records import MOST_LINES_IN_A_CELL, BadRecord, Layout, Records

_MARK = codecs.BOM_UTF8
#: Most bytes of a row: each further block would mean reading all of it again.
LONGEST = 2**24
#: Reason for a line that repeats the header, as in concatenated exports.
REPEATED_HEADER = "repeated_header"


@dataclass(frozen=True)
class Csv(Source):
    """CSV with a header or, with ``header``, without one; compressed (gzip, Zstandard) as well. Tabs in ``.tsv``.

    Records that cannot be read go to quarantine: those with another number of cells than the header, with undecodable
    bytes, or with an unclosed quote. Repeated headers go there too. All other records are read.
    """

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".csv.gz", ".csv.zst", ".tsv.gz", ".tsv.zst")
    typed: ClassVar[bool] = False
    block_bytes: ClassVar[int] = 8 << 20  #: read and parsed at a time
    separator: str = ""  #: default: the one that splits most lines into as many cells as the first
    encoding: str = ""  #: such as gb18030 or utf-16; default: by the byte order mark, else utf-8
    header: str | tuple[str, ...] = ""  #: the columns' names, where the file has no header: user,item or a list
    skip: int = 0  #: number of lines above the header, such as a report's title
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
            # The format of quarantine exports is known; their apostrophes, for example, precede formulas.
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
            for records in _records(chain([start], blocks), layout, dialect.first_line, str(path)):
                yield _frame(records, layout, dialect, quotes)


def _records(blocks: Iterator[bytes], layout: Layout, line: int, name: str) -> Iterator[Records]:
    """Yield the whole records of each block.

    Raises:
        DataError: a record is longer than :data:`LONGEST`; a compressed file of some hundred kB may have one that fills
            the memory.
    """
    rest = b""
    for block in blocks:
        rest = _without_marks(rest + block)
        for records in _split(rest, layout, line, final=False):
            rest, line = rest[records.size :], records.next_line
            yield records
        if len(rest) > LONGEST:
            raise DataError(
                f"{name} has a row of more than {LONGEST >> 20} MiB in line {line}. Check whether it has line breaks, "
                "and whether each quote is closed."
            )
    yield from _split(rest, layout, line, final=True)


def _split(text: bytes, layout: Layout, line: int, *, final: bool) -> Iterator[Records]:
    """Yield the whole records of a text: after a bad line only some are read line by line, which is slow."""
    most = 2 * MOST_LINES_IN_A_CELL
    while text:
        records = layout.split(text, line, final=final, most=most)
        yield records
        if not records.is_cut:
            break
        text, line, most = text[records.size :], records.next_line, 2 * most


def _without_marks(text: bytes) -> bytes:
    """Return a text without byte order marks at line starts, which concatenated files have."""
    if text.isascii() or _MARK not in text:
        return text
    return text.removeprefix(_MARK).replace(b"\n" + _MARK, b"\n")


def _frame(records: Records, layout: Layout, dialect: Dialect, quotes: Quotes) -> pl.DataFrame:
    """Return the rows of a block in order, the unreadable ones with their reason."""
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
    """Return the rows without repeated headers, and those headers."""
    names = {column: name for column, name in zip(dialect.columns, dialect.names, strict=True) if name}
    if len(names) < 2:  # too few to recognise a header
        return rows, []
    first, name = next(iter(names.items()))
    candidates = (rows[first] == name).arg_true()
    if candidates.is_empty():
        return rows, []
    repeats = [row for row in candidates if all(rows[column][row] == name for column, name in names.items())]
    text = dialect.separator.join(dialect.names)
    repeated = [BadRecord(rows[LINE][row], REPEATED_HEADER, text) for row in repeats]
    return rows.filter(pl.repeat(value=True, n=rows.height, eager=True).scatter(repeats, values=False)), repeated


def _cells(records: Records, layout: Layout, columns: list[str]) -> pl.DataFrame:
    """Return the cells of the good records: read by Polars, or by ``csv`` if Polars reads them wrongly."""
    schema = dict.fromkeys(columns, pl.String())
    with suppress(pl.exceptions.PolarsError):
        rows = pl.read_csv(records.good, has_header=False, schema=schema, separator=layout.separator)
        if rows.height == len(records.lines):
            return rows
    cells = [[cell or None for cell in record] for record in layout.cells(records.good)]
    return pl.DataFrame(cells, schema=schema, orient="row")


def _of_size(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of ``rows`` rows; only the last may be smaller."""
    pending: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        pending.append(frame)
        height += frame.height
        while height >= rows:
            joined = pl.concat(pending, how="diagonal")
            yield joined.head(rows)
            pending, height = [joined.tail(-rows)], height - rows
    if height:
        yield pl.concat(pending, how="diagonal")
