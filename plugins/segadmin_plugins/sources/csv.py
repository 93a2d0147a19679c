"""Reading CSV files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

import polars as pl

from segadmin.errors import DataError
from segadmin.events.compression import DAMAGE, open_plain
from segadmin.events.source import LINE, UNREADABLE, UNREADABLE_ROW, Source
from segadmin_plugins.sources.csv_dialect import Dialect, dialect_of, encoding_of, utf8_blocks
from segadmin_plugins.sources.csv_records import Layout, Records


@dataclass(frozen=True)
class Csv(Source):
    """CSV with a header or, with ``header``, without one; compressed (gzip, Zstandard) as well. Tabs in ``.tsv``.

    Records that cannot be read go to quarantine, wherever they are: with another number of cells than the header, not
    in the encoding, or with a quote that is not closed. All others are read.
    """

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".csv.gz", ".csv.zst", ".tsv.gz", ".tsv.zst")
    block_bytes: ClassVar[int] = 8 << 20  #: read and taken apart at a time
    separator: str = ""  #: default: what separates most lines into as many cells as the first
    encoding: str = ""  #: such as gb18030 or utf-16; default: by the byte order mark, else utf-8
    header: str = ""  #: the columns' names, separated by commas, where the file has no header

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
            dialect = dialect_of(start, str(path), encoding=encoding, separator=self.separator, header=self.header)
            start = start[len(dialect.skipped.encode()) :]
            yield from _parsed(chain([start], blocks), dialect)


def _parsed(blocks: Iterator[bytes], dialect: Dialect) -> Iterator[pl.DataFrame]:
    """Yield a frame of the whole records of each block."""
    layout = Layout(dialect.separator, len(dialect.columns))
    rest, line = b"", dialect.first_line
    for block in blocks:
        text = rest + block
        records = layout.split(text, line, final=False)
        rest, line = text[records.size :], records.next_line
        yield _frame(records, layout, dialect.columns)
    if rest:
        yield _frame(layout.split(rest, line, final=True), layout, dialect.columns)


def _frame(records: Records, layout: Layout, columns: list[str]) -> pl.DataFrame:
    """Return the rows of a block in their order, those that cannot be read with the reason."""
    rows = _cells(records, layout, columns).with_columns(pl.Series(LINE, records.lines, dtype=pl.Int64))
    if not records.bad:
        return rows
    bad = pl.DataFrame(
        {
            LINE: [record.line for record in records.bad],
            UNREADABLE: [record.reason for record in records.bad],
            UNREADABLE_ROW: [record.text for record in records.bad],
        },
        schema_overrides={LINE: pl.Int64},
    )
    return pl.concat([rows, bad], how="diagonal").sort(LINE)


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
