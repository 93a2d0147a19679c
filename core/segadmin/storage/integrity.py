"""The check of the whole database: before changes that matter, every few minutes, and on request."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlmodel import Session

from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.damage import check_engine_file, check_file, marker, refuse_damaged


def check_database(settings: Settings) -> None:
    """Check the structure of a SQLite file; of another database, that it answers.

    Raises:
        DatabaseDamaged: it is damaged, or a process detected damage before; see :func:`clear_damage`.
        StorageError: it cannot be reached.
    """
    refuse_damaged(settings)
    if settings.database_files:
        check_file(settings.database_files[0])
    else:
        database.revision(settings)


def read_tables(settings: Settings) -> None:
    """Read all rows of another database than SQLite: PostgreSQL detects damage only where it reads.

    Raises:
        DatabaseDamaged: it is damaged.
        SchemaOutOfDate, StorageError: as in :func:`segadmin.storage.database.reading`.
    """
    if settings.database_files:  # check_database reads all of it
        return
    whole_row: ColumnElement[object] = literal_column("a_row")  # to count it, PostgreSQL reads the row itself
    with database.reading(settings) as session:
        for table in database.own_tables():
            session.execute(select(func.count(whole_row)).select_from(table.alias("a_row")))


def clear_damage(settings: Settings) -> None:
    """Check the database again after it was repaired, and remove the marker if it is in order.

    Raises:
        DatabaseDamaged, StorageError: as in :func:`check_database`.
    """
    if settings.database_files:
        path = settings.database_files[0]
        check_file(path)
        marker(path).unlink(missing_ok=True)
    else:
        database.revision(settings)


def check_before_change(session: Session) -> None:
    """Check the file of a session's database before a change that others act on; see :func:`check_database`.

    Raises:
        DatabaseDamaged, StorageError: as in :func:`check_database`.
    """
    check_engine_file(session.get_bind().engine)
