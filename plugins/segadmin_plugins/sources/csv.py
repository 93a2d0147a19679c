"""Reading CSV files."""

from __future__ import annotations

import codecs
import csv
import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, ClassVar

import polars as pl

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.source import UNREADABLE, UNREADABLE_ROW, Source

#: What else files are separated by, for a header that does not have what they should be.
_SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Csv(Source):
    """CSV with a header; compressed (``.gz``, ``.zst``) as well. Tabs in ``.tsv``.

    Polars reads it, as fast as the disk; where Polars gives a file up (a line with more cells than the header, one
    that is not in the encoding), it goes on line by line, and such lines go to quarantine.
    """

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".csv.gz", ".csv.zst", ".tsv.gz")
    first_line: ClassVar[int] = 2
    separator: str = ""  #: default: what the header is separated by
    encoding: str = "utf-8"  #: such as gb18030

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string."""
        path = Path(where)
        header = self._header(path)
        separator = self.separator or _separator(path, header)
        done = 0
        if self._is_utf8:
            # Where Polars gives up, it is read line by line below.
            with suppress(pl.exceptions.PolarsError, UnicodeDecodeError, OSError):
                scan = pl.scan_csv(path, infer_schema=False, separator=separator, encoding="utf8")
                scan = scan.rename(_names(scan.collect_schema().names()))
                for chunk in scan.collect_batches(chunk_size=rows, maintain_order=True):
                    yield chunk
                    done += chunk.height
                return
        try:
            yield from self._line_by_line(path, separator, done, rows)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read as CSV: {error}.") from None

    @property
    def _is_utf8(self) -> bool:
        try:
            return codecs.lookup(self.encoding).name == "utf-8"
        except LookupError:
            raise ConfigurationError(f"There is no encoding {self.encoding!r}. Try gb18030 or utf-8.") from None

    def _header(self, path: Path) -> str:
        utf8 = self._is_utf8
        try:
            with _open(path) as file:
                first = file.readline()
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read as CSV: {error}.") from None
        if not first.strip(b"\r\n\xef\xbb\xbf \0"):
            raise DataError(f"{path} is empty.")
        try:
            return first.decode("utf-8-sig" if utf8 else self.encoding)
        except UnicodeDecodeError:
            raise DataError(
                f"{path} cannot be read as CSV: its header is not {self.encoding}. "
                "If it is a Chinese encoding: --option encoding=gb18030"
            ) from None

    def _line_by_line(self, path: Path, separator: str, done: int, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows behind the first ``done``; those that cannot be read with the reason."""
        csv.field_size_limit(sys.maxsize)
        with _open(path) as file:
            lines = (line.decode(self.encoding, "surrogateescape") for line in file)
            records = _records(lines, separator)
            found = next(records)
            found[0] = found[0].removeprefix("\ufeff")
            columns = list(_names(_numbered(found)).values())
            wanted = (record for record in records if record)
            for _ in islice(wanted, done):
                pass
            while some := list(islice(wanted, rows)):
                read = [_row(record, columns, separator) for record in some]
                yield pl.DataFrame(read, schema=[*columns, UNREADABLE, UNREADABLE_ROW], orient="row").cast(pl.String)


def _records(lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    """Yield the cells of each record; of one that is no CSV (a carriage return of its own), its text as one cell."""
    taken: list[str] = []

    def noted() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(noted(), delimiter=separator)
    while True:
        taken.clear()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield ["".join(taken).rstrip("\r\n")]


def _row(record: list[str], columns: Sequence[str], separator: str) -> list[str | None]:
    """Return the cells, or none of them, then what is wrong with the row and its text."""
    text = separator.join(record)
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return [None] * len(columns) + ["bad_encoding", shown]
    if len(record) != len(columns):
        return [None] * len(columns) + ["ragged_row", text]
    return [cell or None for cell in record] + [None, None]


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        raise DataError(f"{path} is not plain CSV, and is read line by line only when unpacked: unzstd {path}")
    return path.open("rb")


def _separator(path: Path, header: str) -> str:
    usual = "\t" if ".tsv" in path.name.lower() else ","
    return usual if usual in header else max(_SEPARATORS, key=lambda sign: (header.count(sign), sign == usual))


def _numbered(header: Sequence[str]) -> list[str]:
    """Return names that are all different, as Polars makes them."""
    seen: dict[str, int] = {}
    names = []
    for name in header:
        names.append(name if name not in seen else f"{name}_duplicated_{seen[name] - 1}")
        seen[name] = seen.get(name, 0) + 1
    return names


def _names(header: Sequence[str]) -> dict[str, str]:
    """Return each name without the spaces around it, where that leaves names different."""
    stripped = [name.strip() for name in header]
    return dict(zip(header, stripped if len(set(stripped)) == len(stripped) else header, strict=True))
