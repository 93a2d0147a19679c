"""Connections to a SQLite file: private, with write-ahead logging, and to the file that has the name now."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from segadmin.errors import StorageError
from segadmin.files import make_folder

#: Execution option of connections that only read.
READING = "segadmin_reading"
_WAL_ATTEMPTS = 50
#: The same for emptying the log, which waits for all that read now: a page reads for as long as it is made.
_EMPTYING_ATTEMPTS = 600
#: Key of a pooled connection's :func:`file_id`.
_FILE = "segadmin_file"


def sqlite_engine(url: URL, umask: int) -> Engine:
    """Return the engine of a SQLite file, which the first connection creates, without the permissions in ``umask``.

    If the file is moved away or replaced, connections to the old one are given up.
    """
    path = Path(url.database or "")
    engine = create_engine(url, connect_args={"timeout": 30})
    event.listen(engine, "do_connect", lambda *_: _create(path, umask))

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_FILE] = file_id(path)
        connection.isolation_level = None  # the driver's own BEGIN would be deferred: see _begin
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # erased users must not stay in free pages

    @event.listens_for(engine, "checkout")
    def _compare(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info[_FILE] != file_id(path):
            raise DisconnectionError

    event.listen(engine, "begin", _begin)
    return engine


def file_id(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a database's file, which differ from those of a file that replaces it.

    Returns:
        ``None`` if there is no file: none was created, or it was moved away.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _create(path: Path, umask: int) -> None:
    if "file:" in str(path):  # a URI in SQLite's own syntax
        return
    try:
        make_folder(path.parent, umask)
        with suppress(FileExistsError):  # closing an existing file would release SQLite's locks on it
            # SQLite would create it readable by everyone. Its write-ahead log gets the same permissions.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~umask))
    except OSError as error:
        raise StorageError(
            f"The database {path} cannot be created: {error.strerror}. Set SEGADMIN_HOME or SEGADMIN_DATABASE_URL to "
            "another location."
        ) from None


def wait_for_turn(engine: Engine) -> None:
    """Serialize the transactions of a SQLite engine that another library created, as for our own engines."""
    event.listen(engine, "connect", lambda connection, _record: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", _begin)
    engine.dispose()


def _begin(connection: Any) -> None:
    # A deferred transaction that reads and then writes fails at once with "database is locked"
    # if another process wrote in between; an immediate one waits for the lock.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READING) else "BEGIN IMMEDIATE")


def _write_ahead(connection: Any) -> None:
    """Switch a SQLite file to write-ahead logging, with retries: SQLite does not wait if several processes do this."""
    for _ in range(_WAL_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            time.sleep(0.1)
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def empty_write_ahead_log(connection: Any) -> None:
    """Move everything from the write-ahead log into the file, and truncate the log.

    Raises:
        sqlite3.OperationalError: other processes use the database all the time.
    """
    connection.execute("PRAGMA busy_timeout=0")  # this loop retries
    for _ in range(_EMPTYING_ATTEMPTS):
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        time.sleep(0.1)
    raise sqlite3.OperationalError("other processes use it all the time")
