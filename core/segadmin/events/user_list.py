"""Lists of users in files: CSV with a column of ids, or one id a line."""

from __future__ import annotations

import csv
import io
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


def read_users(path: Path) -> list[ListedUser]:
    """Return the users in a file.

    Cells may be quoted. Of several columns the header must say which has the users: ``user``, ``user_id``,
    ``customer`` and the like. A file with one column needs no header. Blank lines are left out.

    Raises:
        DataError: the file cannot be read, or has several columns and no header; naming the line.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8.") from None
    separator = next((sign for sign in _SEPARATORS if _header(text, sign) is not None), ",")
    records = _records(text, separator, path)
    column = _header(text, separator)
    if column is not None and len(records) > 1:
        return _of_column(records[1:], column, path, is_only=len(records[0][1]) == 1)
    for line, cells, _ in records:
        if len(cells) > 1:
            raise DataError(
                f"{path}, line {line}: several columns, and no header that says which has the users. Call it user, or "
                "put an id that has a comma in quotes."
            )
    return [ListedUser(cells[0].strip(), line) for line, cells, _ in records]


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


def _header(text: str, separator: str) -> int | None:
    """Return which column the first line calls the users'; ``None`` where it is no header."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    cells = next(csv.reader([first], delimiter=separator), [])
    names = ["".join(sign for sign in cell.casefold() if sign.isalnum()) for cell in cells]
    return next((names.index(name) for name in ("user", *ALSO_CALLED["user"]) if name in names), None)


def _of_column(records: Sequence[_Record], column: int, path: Path, *, is_only: bool) -> list[ListedUser]:
    users = []
    for line, cells, text in records:
        if is_only:  # what has a comma in it, though not in quotes, is one id all the same
            users.append(ListedUser(cells[0].strip() if len(cells) == 1 else text, line))
        elif column < len(cells) and cells[column].strip():
            users.append(ListedUser(cells[column].strip(), line))
        else:
            raise DataError(f"{path}, line {line}: there is no user in column {column + 1}.")
    return users
