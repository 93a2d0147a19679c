"""How a CSV file is written: its encoding, what separates its cells, and what its columns are called."""

from __future__ import annotations

import codecs
import csv
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from segadmin.contracts.source import MULTIBYTE_ENCODINGS
from segadmin.errors import ConfigurationError, DataError
from segadmin.events.header import looks_like_data
from segadmin.invisible import INVISIBLE

#: What else files are separated by, for a first line that does not have what it should be.
SEPARATORS = ",;\t|"
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
_OTHER_ENCODINGS = (*MULTIBYTE_ENCODINGS, "windows-1252")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    """Stand a surrogate for each byte that cannot be decoded: the row is told apart by it later."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("segadmin.undecodable", _undecodable)


@dataclass(frozen=True)
class Dialect:
    """How one file is written."""

    separator: str
    columns: list[str]  #: all different
    names: list[str]  #: as the header has them
    skipped_bytes: int  #: what stands before the first row: titles, a line ``sep=;``, blank lines and the header
    first_line: int  #: the line on which the first row begins


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


def dialect_of(
    start: bytes, name: str, *, encoding: str, separator: str, header: str | Sequence[str], skip: int
) -> Dialect:
    """Return how a file is written, by how it begins.

    Args:
        start: its first block, in UTF-8.
        name: what to call the file in an error.
        encoding: what it was read in.
        separator: what the user says; empty for nothing.
        header: the columns' names, where the file has no header; :data:`FIRST` for its first line.
        skip: how many lines stand above the header.

    Raises:
        DataError: the file is empty; its header is not in the encoding, or looks like data or like a title.
    """
    every = list(islice(_lines(start), skip + _SNIFFED_LINES))
    place = min(skip, len(every))
    first_lines = _decoded(every[place : place + 2], name, encoding)
    if first_lines and (told := _SEPARATOR_LINE.fullmatch(first_lines[0])):
        separator = separator or told[1]
        place += 1
    while place < len(every) and not every[place].strip(b"\r\n \0"):
        place += 1
    if place == len(every):
        raise DataError(f"{name} is empty.")
    texts = [line.decode("utf-8", "replace") for line in every[place:]]
    titles = 0 if header else _titles(texts, separator or SEPARATORS)
    if titles:
        raise DataError(
            f"The first line of {name} looks like a title, not like a header: {texts[0].strip()[:60]}. "
            f"If the header is on line {place + titles + 1}: -o skip={place + titles}"
        )
    separator = separator or _separator(texts, name)
    names, height = ([], 0)
    if header and header != FIRST:
        names = header.split(",") if isinstance(header, str) else list(header)
    else:
        names, height = _header(every[place:], name, encoding, separator)
        if not header and looks_like_data(names):
            raise DataError(
                f"The first line of {name} looks like data, not like a header: {separator.join(names)[:80]}. "
                f"If the file has no header, name its {len(names)} columns, as in -o header=user,item,kind,at. "
                f"If it is the header: -o header={FIRST}. "
                f"To have it recognised: segadmin data preview --guess {shlex.quote(name)}"
            )
        names = _as_wide(names, _records(texts[height:], separator))
    place += height
    columns = _stripped(_different(names))
    return Dialect(separator, columns, names, sum(map(len, every[:place])), first_line=place + 1)


def _header(lines: Sequence[bytes], name: str, encoding: str, separator: str) -> tuple[list[str], int]:
    """Return the names in the header that begins on the first line, and on how many lines it is."""
    several = not lines[0].isascii() or b'"' in lines[0]
    head = _decoded(lines if several else lines[:1], name, encoding)
    reader = csv.reader(iter(head), delimiter=separator)
    try:
        return next(reader), reader.line_num
    except csv.Error as error:
        raise DataError(f"{name}: its header cannot be read: {error}.") from None


def _titles(lines: Sequence[str], separators: str) -> int:
    """Return how many lines above the header are hardly filled, where most lines have several cells."""
    rows = {sign: _records(lines, sign) for sign in separators}
    widths = {sign: Counter(len(cells) for cells in found if len(cells) > 1) for sign, found in rows.items()}
    tables = {
        sign: max(((n * (width - 1), width, n) for width, n in widths[sign].items()), default=(0, 0, 0))
        for sign in rows
    }
    sign = max(separators, key=lambda one: tables[one])  # the one that makes the largest table
    _, width, height = tables[sign]
    if 2 * height <= len(rows[sign]):
        return 0
    usual = Counter(_filled(cells) for cells in rows[sign] if len(cells) == width).most_common(1)[0][0]
    for number, line in enumerate(lines):
        cells = next(csv.reader([line], delimiter=sign), [])
        if 2 * _filled(cells) > usual or (usual <= 2 and len(cells) == width):
            return number
    return 0


def _filled(cells: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _records(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the cells of each line of a sample, without blank lines.

    Line by line, so that a quote that is not closed hides no other; text of several lines is too rare to matter here.
    """
    records = []
    for line in lines:
        with suppress(csv.Error):
            records += [cells for cells in csv.reader([line], delimiter=separator) if cells]
    return records


def _as_wide(names: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the header's names with as many blank ones behind them as most rows have blank cells, or without."""
    if not rows:
        return names
    width, height = Counter(map(len, rows)).most_common(1)[0]
    if 2 * height <= len(rows):
        return names
    beyond = [cell for row in rows if len(row) == width for cell in row[len(names) :]]
    if any(cell.strip() for cell in [*beyond, *names[width:]]):
        return names
    return [*names[:width], *[""] * (width - len(names))]


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
        widths = [len(cells) for cells in _records(lines[:_SNIFFED_LINES], sign)]
        if not widths or widths[0] == 1:
            return 0, 0, sign == usual
        return sum(width == widths[0] for width in widths), widths[0], sign == usual

    return max(SEPARATORS, key=agreement)


def _different(header: Sequence[str]) -> list[str]:
    """Return names that are all different, as Polars makes them."""
    names: dict[str, None] = {}
    given = set(header)
    for name in header:
        other, number = name, 0
        while other in names or (number and other in given):
            other, number = f"{name}_duplicated_{number}", number + 1
        names[other] = None
    return list(names)


def _stripped(names: list[str]) -> list[str]:
    """Return each name without the spaces around it and signs that nobody sees, where that leaves names different."""
    stripped = [re.sub(INVISIBLE, "", name).strip() for name in names]
    return stripped if len(set(stripped)) == len(stripped) else names
