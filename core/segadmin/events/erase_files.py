"""Erasure of users from logs, exports, pages and other files in the store."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl

from segadmin.contracts.event_kinds import plain_word
from segadmin.contracts.source import NOTE
from segadmin.errors import StorageError
from segadmin.events.cells import raw_rows, readable
from segadmin.events.compression import DAMAGE, contents
from segadmin.events.field_names import ALSO_CALLED
from segadmin.events.named_users import ERASED, NamedUsers
from segadmin.events.quarantine_users import owned, row_of_json
from segadmin.files import put
from segadmin.settings import Settings
from segadmin.storage.mark import MARK

#: Files and folders of segadmin in the store; all others are exports and pages that users put there.
_OWN_NAMES = frozenset(
    {
        *(MARK, "compacted.json", "compacted.draft"),
        *("erasure", "erasure.draft", "erasure.lock", "import.lock"),
        *("lake", "work", "spool", "inbox", "inbox-failed", "models", "uploads"),
    }
)
_BATCH_LINES = 50_000
_PARQUET = b"PAR1"


def erase_in_logs(settings: Settings, users: NamedUsers) -> None:
    """Overwrite the lines that name users, in place, because running processes append to the same files."""
    for path in sorted(settings.run_path.glob("*.log*")):
        if path.is_file():
            with path.open("r+b") as file:
                _erase_lines(file, users.distinctive)


def _erase_lines(file: BinaryIO, users: NamedUsers) -> None:
    start = 0
    while lines := list(islice(file, _BATCH_LINES)):
        texts = [line.decode("utf-8", "backslashreplace") for line in lines]
        end = file.tell()
        for line, owner in zip(lines, users.of_texts(pl.Series(texts, dtype=pl.String)), strict=True):
            if owner is not None:
                file.seek(start)
                file.write(ERASED.encode().ljust(len(line) - 1)[: len(line) - 1])
            start += len(line)
        file.seek(end)


def erase_in_files(settings: Settings, users: NamedUsers) -> None:
    """Erase users from exports and pages in the store.

    Tables lose the users' rows; other files that name a user are deleted.

    Raises:
        StorageError: a file cannot be read or written.
    """
    if not users.names or not settings.store_path.is_dir():
        return
    own_paths = {settings.store_path / name for name in _OWN_NAMES}
    own_paths |= {*settings.database_files, settings.run_path}  # if the home is the store, they are in it
    own_paths |= {settings.root / name for name in ("redis", "user_key_secret", "flower_password")}
    others = [entry for entry in settings.store_path.iterdir() if entry not in own_paths and not entry.is_symlink()]
    for entry in sorted(others):
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            if path.is_file() and not path.is_symlink() and path not in own_paths:
                _erase_in_file(path, users)


def _erase_in_file(path: Path, users: NamedUsers) -> None:
    try:
        try:
            _TABLES[path.suffix.lower()](path, users)
        except (KeyError, ValueError, pl.exceptions.PolarsError):  # not a table, despite its suffix
            if names_users(path, users.distinctive):
                path.unlink()
    except DAMAGE as error:
        raise StorageError(
            f"{path} may name users who are to be erased, and cannot be read: {error}. Move it out of the store, and "
            "then: segadmin data forget"
        ) from None


def names_users(path: Path, users: NamedUsers) -> bool:
    """Whether a file, or a file in a zip archive, names one of the users; other formats are searched as bytes."""
    with path.open("rb") as file:
        batches = (texts for content in contents(file) for texts in _texts(content))
        return any(owner is not None for texts in batches for owner in users.of_texts(texts))


def _texts(file: io.BufferedReader) -> Iterator[pl.Series]:
    """Yield the lines of a file, or the rows of a Parquet file, in batches."""
    if file.peek(len(_PARQUET)).startswith(_PARQUET):
        file = io.BufferedReader(io.BytesIO(file.read()))
        with suppress(pl.exceptions.PolarsError):
            yield raw_rows(readable(pl.read_parquet(file, hive_partitioning=False)))
        file.seek(0)
    while lines := list(islice(file, _BATCH_LINES)):
        yield pl.Series([line.decode("utf-8", "backslashreplace") for line in lines], dtype=pl.String)


def _erase_json_lines(path: Path, users: NamedUsers) -> None:
    lines = [line for line in path.read_text("utf-8", "surrogateescape").split("\n") if line.strip()]
    erased_rows = _rows_of(pl.Series([row_of_json(line) for line in lines], dtype=pl.String), users)
    if erased_rows:
        remaining = "".join(f"{line}\n" for index, line in enumerate(lines) if index not in erased_rows)
        _replace(path, lambda draft: draft.write_text(remaining, "utf-8", "surrogateescape"))


def _erase_csv(path: Path, users: NamedUsers) -> None:
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig")
    has_bom = path.read_bytes()[:3] == BOM_UTF8
    separator = max(",;\t", key=header.count)
    has_header = _is_header(next(csv.reader([header], delimiter=separator), []), users)
    frame = pl.read_csv(path, separator=separator, has_header=has_header, infer_schema=False, glob=False)

    def write(remaining: pl.DataFrame, draft: Path) -> None:
        remaining.write_csv(draft, separator=separator, include_bom=has_bom, include_header=has_header)

    _erase_frame(path, frame, users, write)


def _is_header(cells: Sequence[str], users: NamedUsers) -> bool:
    """Whether a table's first line is a header: it has a name of a user column, or names none of the users."""
    names_column = any(plain_word(cell) in _USER_COLUMNS for cell in cells)
    return names_column or all(users.of_cell(cell) is None for cell in cells)


def _erase_parquet(path: Path, users: NamedUsers) -> None:
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    _erase_frame(path, frame, users, lambda remaining, draft: remaining.write_parquet(draft))


def _erase_frame(
    path: Path, frame: pl.DataFrame, users: NamedUsers, write: Callable[[pl.DataFrame, Path], None]
) -> None:
    notes = frame.select(pl.col(name).cast(pl.String) for name in frame.columns if name.startswith(NOTE))
    erased_rows = _rows_of(raw_rows(pl.concat([readable(frame), notes], how="horizontal")), users)
    if erased_rows:
        remaining = frame.filter(~pl.int_range(frame.height, eager=True).is_in(sorted(erased_rows)))
        _replace(path, lambda draft: write(remaining, draft))


def _rows_of(rows: pl.Series, users: NamedUsers) -> set[int]:
    """Return the indices of rows that belong to users: by the user column, if there is one of a known name.

    In exports from quarantine, the text of unreadable rows is searched too.
    """
    columns = json.loads(rows[0]) if len(rows) else {}
    texts = [json.loads(row).get(f"{NOTE}text") for row in rows] if f"{NOTE}text" in columns else []
    owners = users.of_texts(pl.Series(texts, dtype=pl.String))
    user_column = next((column for column in columns if plain_word(column) in _USER_COLUMNS), None)
    mapping = {} if user_column is None else {"columns": {"user": user_column}, "constants": {}}
    return {*owned(rows, mapping, users)["line"], *(index for index, owner in enumerate(owners) if owner is not None)}


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    draft = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.draft")
    write(draft)
    put(draft, path)


_TABLES = {
    ".csv": _erase_csv,
    ".tsv": _erase_csv,
    ".jsonl": _erase_json_lines,
    ".ndjson": _erase_json_lines,
    ".parquet": _erase_parquet,
    ".pq": _erase_parquet,
}
_USER_COLUMNS = frozenset({"user", "userkey", *ALSO_CALLED["user"]})
