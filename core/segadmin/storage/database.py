"""The SQL database: engines, sessions, and the check of the schema revision."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlmodel import Session, SQLModel

from segadmin.errors import ConfigurationError, SchemaOutOfDate, StorageError
from segadmin.files import make_folder
from segadmin.settings import Settings
from segadmin.storage.damage import check_repeatedly, damage_of, is_damage, refuse_damaged
from segadmin.urls import mask_secrets, mask_url

#: The newest revision under ``migrations/versions``; a test compares the two.
HEAD = "0012"
_MIGRATIONS = Path(__file__).parent / "migrations"
_WAL_ATTEMPTS = 50
#: Execution option of connections that only read.
READING = "segadmin_reading"


#: A lost connection is detected within seconds; by default the kernel retransmits for a quarter of an hour. The timeout
#: on idle transactions keeps a suspended process from holding its row locks.
_POSTGRES = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c idle_in_transaction_session_timeout=30s",
}


@lru_cache(maxsize=4)
def _engine(url: str, umask: int) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, umask)
        return create_engine(parsed, pool_pre_ping=True, connect_args=_POSTGRES)
    except (ArgumentError, NoSuchModuleError, ValueError):  # their messages repeat parts of the URL
        raise ConfigurationError(
            f"SEGADMIN_DATABASE_URL={mask_url(url)!r} is not a database URL. "
            "Use sqlite:////path/to/segadmin.db or postgresql://user:password@host/name."
        ) from None
    except ImportError as error:
        raise ConfigurationError(
            f"SEGADMIN_DATABASE_URL={mask_url(url)!r} needs the driver {error.name or 'psycopg'}, which is not "
            "installed. Run: pip install 'segadmin[postgres]'"
        ) from None


def _sqlite(url: URL, umask: int) -> Engine:
    path = Path(url.database or "")
    try:
        make_folder(path.parent, umask)
        if "file:" not in str(path):  # a URI in SQLite's own syntax
            with suppress(FileExistsError):  # closing an existing file would release SQLite's locks on it
                # SQLite would create it readable by everyone. Its write-ahead log gets the same permissions.
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~umask))
    except OSError as error:
        raise StorageError(
            f"The database {path} cannot be created: {error.strerror}. Set SEGADMIN_HOME or SEGADMIN_DATABASE_URL to "
            "another location."
        ) from None
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would be deferred: see _begin
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # erased users must not stay in free pages

    event.listen(engine, "begin", _begin)
    return engine


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


def engine(settings: Settings) -> Engine:
    """Return the engine of ``settings``; one per process and URL.

    Raises:
        ConfigurationError: the URL cannot be parsed or its driver is missing.
    """
    return _engine(settings.sqlalchemy_url, settings.umask_bits)


def dispose_after_fork() -> None:
    """Discard the parent's connections in a forked child, without closing them for the parent."""
    _engine.cache_clear()


@contextmanager
def transaction(settings: Settings) -> Iterator[Session]:
    """Open a session that commits at the end, or rolls back on an exception.

    Rows stay readable after the commit. The schema is checked first; on the default database it is created on first
    use. A SQLite file is checked for damage as often as that is cheap.

    Raises:
        SchemaOutOfDate: the schema is not the one this version expects.
        DatabaseDamaged: its file is damaged, or was when another process used it.
        StorageError: the database cannot be reached.
    """
    check_repeatedly(settings)
    with _session(settings) as session:
        yield session


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Open a read-only session. It does not block writers, and writers do not block it.

    On SQLite all queries see one consistent state; on PostgreSQL each query sees its own.

    Raises:
        SchemaOutOfDate, DatabaseDamaged, StorageError: see :func:`transaction`.
    """
    with _session(settings) as session:
        session.connection(execution_options={READING: True})
        yield session


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    ensure_schema(settings)
    with translated_errors(settings), Session(engine(settings), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def translated_errors(settings: Settings, unreachable: type[SQLAlchemyError] = OperationalError) -> Iterator[None]:
    """Refuse a damaged database, and translate the errors of SQLAlchemy that say that it is damaged or away.

    Args:
        settings: location of the database.
        unreachable: the errors that say that the database is away; others of SQLAlchemy pass.

    Raises:
        DatabaseDamaged: see :mod:`segadmin.storage.damage`.
        StorageError: the database cannot be reached.
    """
    refuse_damaged(settings)
    try:
        yield
    except SQLAlchemyError as error:
        if isinstance(error, DatabaseError) and is_damage(error):
            raise damage_of(settings, error, shown(settings)) from error
        if not isinstance(error, unreachable):
            raise
        raise _unreachable(settings, error) from error


def now(session: Session) -> datetime:
    """Return the time of the database's clock (UTC), so that leases do not depend on synchronized node clocks."""
    if session.get_bind().dialect.name == "postgresql":
        timestamp: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return timestamp.astimezone(UTC)
    return datetime.now(UTC)


#: URLs of the databases whose schema this process has checked.
_checked: set[str] = set()


def ensure_schema(settings: Settings) -> None:
    """Check the schema once per process; create it if this is the default database and it is empty."""
    url = settings.sqlalchemy_url
    if url in _checked:
        return
    current = revision(settings)
    if current is None and not settings.database_url:
        upgrade(settings)
    elif current != HEAD:
        state = "has no segadmin tables" if current is None else f"is at revision {current}, not {HEAD}"
        raise SchemaOutOfDate(f"The database {shown(settings)} {state}. Run: segadmin db upgrade")
    _checked.add(url)


def revision(settings: Settings) -> str | None:
    """Return the schema revision of the database, or ``None`` if it has no schema."""
    with translated_errors(settings, SQLAlchemyError), engine(settings).connect() as connection:
        if not engine(settings).dialect.has_table(connection, "alembic_version"):
            return None
        version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return version


#: The largest number of a row on every supported database.
_MAX_ROW_NUMBER = 2**31 - 1


def row_number(text: str) -> int | None:
    """Return the number of a row that somebody names; ``None`` if no row can have it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 11 and is_row_number(int(text)) else None


def is_row_number(number: int) -> bool:
    """Return whether a row can have this number."""
    return 0 <= number <= _MAX_ROW_NUMBER


def upgrade(settings: Settings) -> None:
    """Migrate the schema to :data:`HEAD`; safe to call from several processes at once.

    If there is no schema, the tables are created from :mod:`segadmin.storage.records`, without running migrations.
    """
    with translated_errors(settings, SQLAlchemyError), engine(settings).begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE is such a lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(7337, 1)"))
        if connection.dialect.has_table(connection, "alembic_version"):
            migrate(connection)
        else:
            _create_tables(connection)


def migrate(connection: Connection, to: str = "head") -> None:
    """Run the migrations from the database's current revision to ``to``."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def revisions() -> set[str]:
    """Return the schema revisions that this version can migrate from."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}


def own_tables() -> list[Table]:
    """Return the tables of :mod:`segadmin.storage.records`, without those of plugins in the same metadata."""
    from segadmin.storage import records

    models = [value for value in vars(records).values() if isinstance(value, type) and issubclass(value, SQLModel)]
    return [table for model in models if (table := getattr(model, "__table__", None)) is not None]


def _create_tables(connection: Connection) -> None:
    """Create the tables of :data:`HEAD`, but not the tables that plugins define in the same metadata."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    SQLModel.metadata.create_all(connection, own_tables(), checkfirst=False)
    MigrationContext.configure(connection).stamp(ScriptDirectory(str(_MIGRATIONS)), "head")


def drop_history(settings: Settings) -> None:
    """Remove deleted and overwritten rows from the database's files, including the write-ahead log.

    On PostgreSQL only dead rows are removed; its log and copies of it are the operator's responsibility.

    Raises:
        DatabaseDamaged: its file is damaged.
        StorageError: other processes use the database all the time.
    """
    connection = engine(settings).raw_connection()
    driver: Any = connection.driver_connection
    try:
        if engine(settings).dialect.name == "sqlite":
            driver.execute("VACUUM")
            _empty_write_ahead_log(driver)
        else:
            driver.autocommit = True
            driver.cursor().execute("VACUUM")
    except (sqlite3.DatabaseError, SQLAlchemyError) as error:
        if is_damage(error):
            raise damage_of(settings, error, shown(settings)) from None
        raise StorageError(
            f"The database {shown(settings)} still holds what was erased: {error}. Try again: segadmin data forget"
        ) from None
    finally:
        connection.invalidate()


def _empty_write_ahead_log(connection: Any) -> None:
    connection.execute("PRAGMA busy_timeout=0")  # this loop retries
    for _ in range(_WAL_ATTEMPTS):
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        time.sleep(0.1)
    raise sqlite3.OperationalError("other processes use it all the time")


def shown(settings: Settings) -> str:
    """Return the database URL without its password, for messages."""
    return mask_url(settings.sqlalchemy_url)


def _unreachable(settings: Settings, error: SQLAlchemyError) -> StorageError:
    reason = mask_secrets((str(getattr(error, "orig", error)).strip() or repr(error)).splitlines()[0])
    return StorageError(
        f"The database {shown(settings)} cannot be used: {reason}. Check SEGADMIN_DATABASE_URL, or run: segadmin doctor"
    )
