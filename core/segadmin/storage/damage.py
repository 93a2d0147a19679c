"""Damage to the file of a SQLite database: how it is detected, and the marker that makes every process refuse the file.

SQLite detects damage only where it reads, and pages that a process has read stay in its memory. Without the marker, one
process would report the damage and the others would go on writing.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from segadmin.errors import DatabaseDamaged, StorageError
from segadmin.files import put_once
from segadmin.settings import Settings

FIX = "Run: segadmin down, then: segadmin restore BACKUP"
#: SQLite's primary error codes for damage: SQLITE_CORRUPT, and SQLITE_NOTADB for a damaged header.
_SQLITE_CODES = frozenset({11, 26})
#: PostgreSQL's ``data_corrupted`` and ``index_corrupted``.
_POSTGRES_STATES = frozenset({"XX001", "XX002"})
#: Repeated checks of a process take at most this share of its time, unless that makes them rarer than the pause below.
SHARE = 0.01
#: Longest pause between two checks of a process that writes, in seconds.
LONGEST_PAUSE = 300.0
#: File → when this process checks it again, in seconds on the monotonic clock.
_next_check: dict[Path, float] = {}


def is_damage(error: BaseException) -> bool:
    """Whether an error of SQLAlchemy or of a driver says that the database is damaged, not busy or away."""
    cause = error.orig if isinstance(error, DatabaseError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF in _SQLITE_CODES) or getattr(cause, "sqlstate", None) in _POSTGRES_STATES


@lru_cache(maxsize=16)
def _file(settings: Settings) -> Path | None:
    return next(iter(settings.database_files), None)


def marker(path: Path) -> Path:
    """Return the marker beside the database file ``path``; it exists after damage was detected, and says what."""
    return path.with_name(f"{path.name}-damaged")


def refuse_damaged(settings: Settings) -> None:
    """Raise if a process has detected damage to the SQLite file of ``settings``; costs one ``stat``.

    Raises:
        DatabaseDamaged: its marker exists.
    """
    path = _file(settings)
    if path is not None and marker(path).exists():
        raise damaged(path)


def damage_of(settings: Settings, error: BaseException, shown: str) -> DatabaseDamaged:
    """Return the error to raise for damage (see :func:`is_damage`); a SQLite file is marked.

    Args:
        settings: location of the database.
        error: what SQLAlchemy or the driver raised.
        shown: the URL of the database, for one without a file.
    """
    reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
    path = _file(settings)
    if path is None:
        return DatabaseDamaged(f"The database {shown} is damaged: {reason}. {FIX}.")
    return mark_damaged(path, reason)


def mark_damaged(path: Path, reason: str) -> DatabaseDamaged:
    """Leave the marker beside the database file ``path``, and return the error to raise.

    A file that never was a SQLite database, because its URL is wrong, gets no marker.
    """
    if not _was_sqlite(path):
        return DatabaseDamaged(
            f"The database {path} is damaged, or another file: {reason}. {FIX}; or correct SEGADMIN_DATABASE_URL."
        )
    with suppress(OSError):  # on a disk that cannot be written every process detects the damage by itself
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        put_once(marker(path), f"{reason} (detected {moment})", ~path.stat().st_mode & 0o777)
    return damaged(path, reason)


def damaged(path: Path, reason: str = "") -> DatabaseDamaged:
    """Return the error for a marked file; ``reason`` is used if the marker cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        reason = marker(path).read_text(encoding="utf-8").strip()
    return DatabaseDamaged(f"The database {path} is damaged: {reason}. {FIX}. If it was repaired: segadmin db check")


def _was_sqlite(path: Path) -> bool:
    """Whether the file has SQLite's header, or is open as a database."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0" or path.with_name(f"{path.name}-shm").exists()
    return False


def check_file(path: Path) -> None:
    """Check the structure of a SQLite file, as ``PRAGMA quick_check`` does; a damaged file is marked.

    The file is opened anew and read-only: connections that are open keep pages from before the damage.

    Raises:
        DatabaseDamaged: it is damaged.
        StorageError: it cannot be read.
    """
    if not path.exists():  # it is created at first use
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30)) as connection:
            [report] = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if is_damage(error):
            raise mark_damaged(path, str(error)) from None
        raise StorageError(f"The database {path} cannot be checked: {error}. Check its permissions.") from None
    if report != "ok":
        raise mark_damaged(path, re.sub(r"\*\*\*.*?\*\*\*", "", report).strip().splitlines()[0])


def check_repeatedly(settings: Settings) -> None:
    """Call :func:`check_file` for a SQLite file unless this process did so a short while ago, before it writes.

    The whole file is read, so the pauses grow with it: 0.1 s after a check that took 1 ms, some two minutes for a file
    of 1 GB.

    Raises:
        DatabaseDamaged, StorageError: as in :func:`check_file`.
    """
    path = _file(settings)
    if path is None or (started := time.monotonic()) < _next_check.get(path, 0.0):
        return
    ended = started  # if it fails, the next write checks again
    _next_check[path] = started + LONGEST_PAUSE  # for other threads, until this check has ended
    try:
        check_file(path)
        ended = time.monotonic()
    finally:
        _next_check[path] = ended + min((ended - started) / SHARE, LONGEST_PAUSE)


def check_engine_file(engine: Engine) -> None:
    """Call :func:`check_file` for the file of an engine; other databases check what they read themselves.

    Raises:
        DatabaseDamaged, StorageError: as in :func:`check_file`.
    """
    name = engine.url.database or ""
    if engine.dialect.name == "sqlite" and "file:" not in name:
        check_file(Path(name))
