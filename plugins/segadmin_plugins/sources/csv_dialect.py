"""How a CSV file is written: its encoding, what separates its cells, and what its columns are called."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from segadmin.errors import ConfigurationError, DataError

#: What else files are separated by, for a first line that does not have what it should be.
_SEPARATORS = ",;\t|"
#: ``-o header=first``: the first line is the header even where it looks like data.
FIRST = "first"
_SNIFFED_LINES = 100
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: What an encoding may be, from the most to the least likely, where a header is not UTF-8.
_OTHER_ENCODINGS = ("gb18030", "big5", "shift_jis", "windows-1252")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
#: What stands in cells, but hardly in names: numbers, dates, numbers of events.
_DATA = re.compile(r"[-+]?\d+([.,:/-]\d+)*([ T]\d\d:\d\d(:\d\d)?)?Z?")


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    """Stand a surrogate for each byte that cannot be decoded: the row is told apart by it later."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("segadmin.undecodable", _undecodable)


@dataclass(frozen=True)
class Dialect:
    """How one file is written."""

    separator: str
    columns: list[str]
    skipped: str  #: what stands before the first row: the header, and a line ``sep=;``

    @property
    def first_line(self) -> int:
        """The line on which the first row begins."""
        return 1 + self.skipped.count("\n")


def encoding_of(head: bytes, named: str, name: str) -> str:
    """Return a file's encoding: the one that is named, else by its byte order mark, else UTF-8.

    Args:
        head: the file's first bytes.
        named: what the user says; empty for nothing.
        name: what to call the file in an error.

    Raises:
        ConfigurationError: there is no such encoding.
        DataError: the file looks like UTF-16 without a byte order mark.
    """
    by_mark = next((encoding for mark, encoding in _BOMS if head.startswith(mark)), "")
    if named:
        try:
            known = codecs.lookup(named).name
            "".encode(known)
        except LookupError:
            raise ConfigurationError(f"There is no encoding {named!r}. Try gb18030 or utf-8.") from None
        return by_mark or known if known in {"utf-8", "utf-16", "utf-32"} else known
    if by_mark:
        return by_mark
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) >= 8 and not any(head[start:64:2]) and any(head[1 - start : 64 : 2]):
            raise DataError(f"{name} looks like UTF-16 without a byte order mark. Add: -o encoding={encoding}")
    return "utf-8"


def utf8_blocks(file: BinaryIO, encoding: str, size: int) -> Iterator[bytes]:
    """Yield a file's content in UTF-8, without its byte order mark, in blocks of about ``size`` bytes."""
    if encoding == "utf-8":
        first = True
        while block := file.read(size):
            yield block.removeprefix(codecs.BOM_UTF8) if first else block
            first = False
        return
    decoder = codecs.getincrementaldecoder(encoding)("segadmin.undecodable")
    first = True
    while True:
        block = file.read(size)
        text = decoder.decode(block, final=not block)
        if text:
            yield (text.removeprefix("\ufeff") if first else text).encode("utf-8", "surrogatepass")
            first = False
        if not block:
            return


def dialect_of(start: bytes, name: str, *, encoding: str, separator: str, header: str) -> Dialect:
    """Return how a file is written, by how it begins.

    Args:
        start: its first block, in UTF-8.
        name: what to call the file in an error.
        encoding: what it was read in.
        separator: what the user says; empty for nothing.
        header: the columns' names, where the file has no header; :data:`FIRST` for its first line.

    Raises:
        DataError: the file is empty; its header is not in the encoding, or looks like data.
    """
    lines = [line for line, _ in zip(_lines(start), range(_SNIFFED_LINES), strict=False)]
    first_lines = _decoded(lines[:2], name, encoding)
    skipped = ""
    if first_lines and (told := _SEPARATOR_LINE.fullmatch(first_lines[0])):
        skipped, separator = first_lines[0], separator or told[1]
        lines = lines[1:]
    while lines and not lines[0].strip(b"\r\n \0"):
        skipped += "\n"
        lines = lines[1:]
    if not lines:
        raise DataError(f"{name} is empty.")
    texts = [line.decode("utf-8", "replace") for line in lines]
    separator = separator or _separator(texts, name)
    if header and header != FIRST:
        columns = [column.strip() for column in header.split(",")]
        return Dialect(separator, _different(columns), skipped)
    head = (
        _decoded(lines, name, encoding)
        if lines[0].isascii() or '"' in texts[0]
        else _decoded(lines[:1], name, encoding)
    )
    reader = csv.reader(iter(head), delimiter=separator)
    try:
        columns = next(reader)
    except csv.Error as error:
        raise DataError(f"{name}: its header cannot be read: {error}.") from None
    skipped += "".join(head[: reader.line_num])
    if not header and _looks_like_data(columns):
        raise DataError(
            f"The first line of {name} looks like data, not like a header: {separator.join(columns)[:80]}. "
            "If the file has no header, name its columns: -o header=user,item,kind,at. "
            f"If it is the header: -o header={FIRST}"
        )
    return Dialect(separator, _stripped(_different(columns)), skipped)


def _lines(start: bytes) -> Iterator[bytes]:
    """Yield the lines of a block, each with its end."""
    place = 0
    while place < len(start):
        end = start.find(b"\n", place) + 1 or len(start)
        yield start[place:end]
        place = end


def _decoded(lines: Sequence[bytes], name: str, encoding: str) -> list[str]:
    texts = []
    for line in lines:
        try:
            texts.append(line.decode())
        except UnicodeDecodeError:
            if texts:  # a header ends before it
                break
            raise DataError(
                f"{name} cannot be read as CSV: its header is not {encoding}. "
                f"Name the right encoding: {_encodings(line)}"
            ) from None
    return texts


def _encodings(line: bytes) -> str:
    """Return the options that read a header."""
    possible = []
    for encoding in _OTHER_ENCODINGS:
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            continue
        possible.append(f"-o encoding={encoding}")
    return " or ".join(possible[:3]) or "-o encoding=NAME"


def _separator(lines: Sequence[str], name: str) -> str:
    """Return what separates most lines into as many cells as the first."""
    usual = "\t" if ".tsv" in name.lower() else ","

    def agreement(sign: str) -> tuple[int, int, bool]:
        reader = csv.reader(iter(lines), delimiter=sign)
        widths: list[int] = []
        with suppress(csv.Error):
            widths = [len(record) for record in islice(reader, _SNIFFED_LINES) if record]
        if not widths or widths[0] == 1:
            return 0, 0, sign == usual
        return sum(width == widths[0] for width in widths), widths[0], sign == usual

    return max(_SEPARATORS, key=agreement)


def _looks_like_data(columns: Sequence[str]) -> bool:
    """Whether at least half of a header's names are numbers or times."""
    names = [name.strip() for name in columns if name.strip()]
    return len(names) > 1 and 2 * sum(bool(_DATA.fullmatch(name)) for name in names) >= len(names)


def _different(header: Sequence[str]) -> list[str]:
    """Return names that are all different, as Polars makes them."""
    seen: dict[str, int] = {}
    names = []
    for name in header:
        names.append(name if name not in seen else f"{name}_duplicated_{seen[name] - 1}")
        seen[name] = seen.get(name, 0) + 1
    return names


def _stripped(names: list[str]) -> list[str]:
    """Return each name without the spaces around it, where that leaves names different."""
    stripped = [name.strip() for name in names]
    return stripped if len(set(stripped)) == len(stripped) else names
