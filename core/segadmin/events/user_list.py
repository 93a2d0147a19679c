"""Lists of users in files: CSV with a column of ids, or one id a line."""

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
    """A user as somebody named it."""

    user: str
    line: int | None = None  #: where it begins in the file; ``None`` where it is from no file
    column: str | None = None  #: what the file calls the column that it is in; ``None`` where it has no header


def read_users(path: Path, column: str | None = None) -> list[ListedUser]:
    """Return the users in a file.

    Cells may be quoted; they are separated by commas, semicolons or tabs. Of several columns the header must say which
    has the users: ``user``, ``user_id``, ``customer`` and the like. A file with one column needs no header. Blank lines
    are left out.

    Args:
        path: the file.
        column: what its header calls the users' column; default: the likeliest name of those above.

    Raises:
        DataError: the file cannot be read, has several columns and no header, or not that column; naming the line.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8.") from None
    headers = _headers(text)
    names = (column,) if column is not None else ("user", *ALSO_CALLED["user"])
    found = ((sign, _place(cells, names)) for sign, cells in headers.items())
    separator, place = next((pair for pair in found if pair[1] is not None), (next(iter(headers)), None))
    cells = headers[separator]
    if column is not None and place is None:
        raise DataError(f"{path} has no column {column!r}. There are: {', '.join(cells)}.")
    records = _records(text, separator, path)
    if place is not None and (column is not None or len(records) > 1):
        return _of_column(records[1:], place, cells, path)
    for line, record, written in records:
        if len(record) > 1 or (not written.startswith('"') and any(sign in record[0] for sign in _SEPARATORS)):
            raise DataError(
                f"{path}, line {line}: several columns, and no header that says which has the users. Name it: --column "
                f"{shlex.quote(cells[0])}, of {', '.join(cells)}; or put an id that has a separator in quotes."
            )
    return [ListedUser(record[0].strip(), line) for line, record, _ in records]


_Record = tuple[int, list[str], str]


def _records(text: str, separator: str, path: Path) -> list[_Record]:
    """Return the line, the cells and the text of each record that is not blank."""
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
    """Return the cells of the first line by what may separate them, the separator first that makes most of it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    cells = {sign: [cell.strip() for cell in next(csv.reader([first], delimiter=sign), [])] for sign in _SEPARATORS}
    return dict(sorted(cells.items(), key=lambda one: -len(one[1])))


def _place(cells: Sequence[str], names: Sequence[str]) -> int | None:
    """Return which cell is the first of some names that there is, whatever its case, spaces and signs."""
    plain = [_plain(cell) for cell in cells]
    return next((plain.index(name) for name in map(_plain, names) if name in plain), None)


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _of_column(records: Sequence[_Record], place: int, header: Sequence[str], path: Path) -> list[ListedUser]:
    users, name = [], header[place]
    for line, cells, text in records:
        if len(header) == 1:  # what has a comma in it, though not in quotes, is one id all the same
            users.append(ListedUser(cells[0].strip() if len(cells) == 1 else text, line, name))
        elif place < len(cells) and cells[place].strip():
            users.append(ListedUser(cells[place].strip(), line, name))
        else:
            raise DataError(f"{path}, line {line}: there is no user in column {place + 1}.")
    return users
