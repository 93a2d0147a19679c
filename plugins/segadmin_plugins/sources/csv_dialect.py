"""The dialect of a CSV file: its encoding, separator, header and column names."""

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

from segadmin.contracts.source import ESCAPED, MULTIBYTE_ENCODINGS, check_names
from segadmin.errors import ConfigurationError, DataError
from segadmin.events.header import looks_like_data
from segadmin.invisible import INVISIBLE

#: Separators to try.
SEPARATORS = ",;\t|"
#: Most columns of a file: some minutes would pass before it is known that it has none of the needed ones.
MOST_COLUMNS = 10_000
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
#: Encodings to suggest for a header that is not UTF-8, the most likely first.
_OTHER_ENCODINGS = (*MULTIBYTE_ENCODINGS, "windows-1252")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    """Replace each undecodable byte by a surrogate, by which the row is recognised later."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("segadmin.undecodable", _undecodable)


@dataclass(frozen=True)
class Dialect:
    """The dialect of one file."""

    separator: str
    columns: list[str]  #: unique
    names: list[str]  #: as in the header
    skipped_bytes: int  #: before the first row: titles, a line ``sep=;``, blank lines and the header
    first_line: int  #: the line on which the first row begins


def encoding_of(head: bytes, named: str, name: str) -> str:
    """Return a file's encoding: ``named``, else from the byte order mark, else UTF-8.

    Args:
        head: the file's first bytes.
        named: the option of the user, or empty.
        name: what to call the file in an error.

    Raises:
        ConfigurationError: there is no such encoding.
        DataError: the file looks like UTF-16 without a byte order mark.
    """
    bom_encoding = next((encoding for mark, encoding in _BOMS if head.startswith(mark)), "")
    if named:
        try:
            encoding = codecs.lookup(named).name
            "".encode(encoding)
        except LookupError:
            raise ConfigurationError(f"There is no encoding {named!r}. Try gb18030 or utf-8.") from None
        return bom_encoding or encoding if encoding in {"utf-8", "utf-16", "utf-32"} else encoding
    if bom_encoding:
        return bom_encoding
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
    """Return the dialect of a file, detected from its first block.

    Args:
        start: its first block, in UTF-8.
        name: what to call the file in an error.
        encoding: the encoding that it was read in.
        separator: the option of the user, or empty.
        header: the columns' names, where the file has no header; :data:`FIRST` for its first line.
        skip: number of lines above the header.

    Raises:
        DataError: the file is empty; its header is not in the encoding, looks like data or like a title, or is too
            wide.
    """
    lines = list(islice(_lines(start), skip + _SNIFFED_LINES))
    row = min(skip, len(lines))
    first_lines = _decoded(lines[row : row + 2], name, encoding)
    if first_lines and (match := _SEPARATOR_LINE.fullmatch(first_lines[0])):
        separator = separator or match[1]
        row += 1
    while row < len(lines) and not lines[row].strip(b"\r\n \0"):
        row += 1
    if row == len(lines):
        raise DataError(f"{name} is empty.")
    texts = [text.decode("utf-8", "replace") for text in lines[row:]]
    titles = 0 if header else _titles(texts, separator or SEPARATORS)
    if titles:
        raise DataError(
            f"The first line of {name} looks like a title, not like a header: {texts[0].strip()[:60]}. "
            f"If the header is on line {row + titles + 1}: -o skip={row + titles}"
        )
    separator = separator or _separator(texts, name)
    names, height = ([], 0)
    if header and header != FIRST:
        names = header.split(",") if isinstance(header, str) else list(header)
    else:
        names, height = _header(lines[row:], name, encoding, separator)
        if not header and looks_like_data(names):
            raise DataError(
                f"The first line of {name} looks like data, not like a header: {separator.join(names)[:80]}. "
                f"If the file has no header, name its {len(names)} columns, as in -o header=user,item,kind,at. "
                f"If it is the header: -o header={FIRST}. "
                f"To have it recognised: segadmin data preview --guess {shlex.quote(name)}"
            )
        names = _padded(names, _records(texts[height:], separator))
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{name} has {len(names):,} columns, more than {MOST_COLUMNS:,}. Check whether its first line ends where "
            "the header does, or export fewer columns."
        )
    row += height
    columns = _stripped(_deduplicated(names))
    check_names(name, (column for column in columns if column != ESCAPED))
    return Dialect(separator, columns, names, sum(map(len, lines[:row])), first_line=row + 1)


def _header(lines: Sequence[bytes], name: str, encoding: str, separator: str) -> tuple[list[str], int]:
    """Return the names in the header that begins on the first line, and its number of lines."""
    several = not lines[0].isascii() or b'"' in lines[0]
    head = _decoded(lines if several else lines[:1], name, encoding)
    reader = csv.reader(iter(head), delimiter=separator)
    try:
        return next(reader), reader.line_num
    except csv.Error as error:
        raise DataError(f"{name}: its header cannot be read: {error}.") from None


def _titles(lines: Sequence[str], separators: str) -> int:
    """Return the number of title lines: lines above the header with far fewer cells than most lines have."""
    rows = {sign: _records(lines, sign) for sign in separators}
    widths = {sign: Counter(len(cells) for cells in records if len(cells) > 1) for sign, records in rows.items()}
    tables = {
        sign: max(((n * (width - 1), width, n) for width, n in widths[sign].items()), default=(0, 0, 0))
        for sign in rows
    }
    sign = max(separators, key=lambda separator: tables[separator])  # the largest table
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

    Each line is parsed alone, so an unclosed quote affects no other line; cells of several lines are rare.
    """
    records = []
    for line in lines:
        with suppress(csv.Error):
            records += [cells for cells in csv.reader([line], delimiter=separator) if cells]
    return records


def _padded(names: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the header's names, padded with blank names or stripped of them to the width of most rows."""
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
    begin = 0
    while begin < len(start):
        end = start.find(b"\n", begin) + 1 or len(start)
        yield start[begin:end]
        begin = end


def _decoded(lines: Sequence[bytes], name: str, encoding: str) -> list[str]:
    texts = []
    for line in lines:
        try:
            texts.append(line.decode())
        except UnicodeDecodeError:
            if texts:  # the header ends before it
                break
            raise DataError(
                f"{name} cannot be read as CSV: its header is not {encoding}. "
                f"Name the right encoding: {_encodings(line)}"
            ) from None
    return texts


def _encodings(line: bytes) -> str:
    """Return the options with which the header can be decoded."""
    possible = []
    for encoding in _OTHER_ENCODINGS:
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            continue
        possible.append(f"-o encoding={encoding}")
    return " or ".join(possible[:3]) or "-o encoding=NAME"


def _separator(lines: Sequence[str], name: str) -> str:
    """Return the separator that splits most lines into as many cells as the first."""
    usual = "\t" if ".tsv" in name.lower() else ","

    def agreement(sign: str) -> tuple[int, int, bool]:
        widths = [len(cells) for cells in _records(lines[:_SNIFFED_LINES], sign)]
        if not widths or widths[0] == 1:
            return 0, 0, sign == usual
        return sum(width == widths[0] for width in widths), widths[0], sign == usual

    return max(SEPARATORS, key=agreement)


def _deduplicated(header: Sequence[str]) -> list[str]:
    """Return unique names, with the suffixes that Polars uses."""
    names: dict[str, None] = {}
    original = set(header)
    for name in header:
        candidate, number = name, 0
        while candidate in names or (number and candidate in original):
            candidate, number = f"{name}_duplicated_{number}", number + 1
        names[candidate] = None
    return list(names)


def _stripped(names: list[str]) -> list[str]:
    """Return each name without surrounding spaces and invisible characters, unless that makes two names equal."""
    stripped = [re.sub(INVISIBLE, "", name).strip() for name in names]
    return stripped if len(set(stripped)) == len(stripped) else names
