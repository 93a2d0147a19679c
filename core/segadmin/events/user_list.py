"""Lists of users in files: CSV with a column of ids, or one id per line."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segadmin.errors import DataError
from segadmin.events.field_names import ALSO_CALLED

_SEPARATORS = ",;\t"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class ListedUser:
    """A user from a list."""

    user: str
    line: int | None = None  #: line in the file; ``None`` if it is not from a file
    column: str | None = None  #: name of its column; ``None`` if the file has no header


def read_users(path: Path, column: str | None = None) -> list[ListedUser]:
    """Return the users in a file.

    Cells may be quoted; they are separated by commas, semicolons or tabs. If there are several columns, the header must
    name the one with users: ``user``, ``user_id``, ``customer`` and the like. A file with one column needs no header.
    Blank lines are skipped.

    Args:
        path: the file.
        column: name of the column with users; default: the most likely name.

    Raises:
        DataError: the file cannot be read, has several columns and no header, or lacks the column; the message names
            the line.
    """
    text = _text(path)
    headers = _headers(text)
    names = (column,) if column is not None else ("user", *ALSO_CALLED["user"])
    places = ((separator, _place(cells, names)) for separator, cells in headers.items())
    separator, index = next((pair for pair in places if pair[1] is not None), (next(iter(headers)), None))
    cells = headers[separator]
    if column is not None and index is None:
        raise DataError(f"{path} has no column {column!r}. There are: {', '.join(cells)}.")
    records = _records(text, separator, path)
    if index is not None and (column is not None or len(records) > 1):
        return _of_column(records[1:], index, cells, path)
    for line, record, text in records:
        if len(record) > 1 or (not text.startswith('"') and any(separator in record[0] for separator in _SEPARATORS)):
            raise DataError(
                f"{path}, line {line}: several columns, and no header that says which has the users. Name it: --column "
                f"{shlex.quote(cells[0])}, of {', '.join(cells)}; or put an id that has a separator in quotes."
            )
    return [ListedUser(record[0].strip(), line) for line, record, _ in records]


def read_pairs(path: Path) -> list[tuple[int, str, str]]:
    """Return line, old and new user of each pair in a file of two columns, quoted and separated as in lists of users.

    With a header, ``old`` and ``new`` may be in any order and have other columns between them.

    Raises:
        DataError: the file cannot be read, or a line has no pair; the message names the line.
    """
    text = _text(path)
    separator, header = next(iter(_headers(text).items()))
    records = _records(text, separator, path)
    names = [_plain(cell) for cell in header]
    places = (0, 1)
    if "old" in names and "new" in names:
        records, places = records[1:], (names.index("old"), names.index("new"))
    pairs = []
    for line, cells, _ in records:
        old, new = (cells[place].strip() if place < len(cells) else "" for place in places)
        if not old or not new or (places == (0, 1) and len(names) == 2 and len(cells) > 2):
            raise DataError(
                f"{path}, line {line}: no pair of users. Write two ids per line, as in: visitor-1,customer-1; put an "
                "id that has a separator in quotes."
            )
        pairs.append((line, old, new))
    return pairs


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8.") from None


_Record = tuple[int, list[str], str]


def _records(text: str, separator: str, path: Path) -> list[_Record]:
    """Return line number, cells and text of each record that is not blank."""
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=separator, strict=True)
    records, first = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                records.append((first, cells, "".join(lines[first - 1 : reader.line_num]).strip()))
            first = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {first}: {error}. Is a quote not closed, or not doubled?") from None
    return records


def _headers(text: str) -> dict[str, list[str]]:
    """Return separator → cells of the first line, sorted by descending number of cells."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    cells = {
        separator: [cell.strip() for cell in next(csv.reader([first], delimiter=separator), [])]
        for separator in _SEPARATORS
    }
    return dict(sorted(cells.items(), key=lambda item: -len(item[1])))


def _place(cells: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index of the cell with the first matching name, ignoring case, spaces and punctuation."""
    plain = [_plain(cell) for cell in cells]
    return next((plain.index(name) for name in map(_plain, names) if name in plain), None)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _of_column(records: Sequence[_Record], index: int, header: Sequence[str], path: Path) -> list[ListedUser]:
    users, name = [], header[index]
    for line, cells, text in records:
        if len(header) == 1:  # an unquoted separator is part of the id
            users.append(ListedUser(cells[0].strip() if len(cells) == 1 else text, line, name))
        elif index < len(cells) and cells[index].strip():
            users.append(ListedUser(cells[index].strip(), line, name))
        else:
            raise DataError(f"{path}, line {line}: there is no user in column {index + 1}.")
    return users
