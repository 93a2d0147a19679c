"""The SQL database: engines, sessions, and the check of the schema revision."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlmodel import Session, SQLModel

from segadmin.errors import ConfigurationError, SchemaOutOfDate, StorageError
from segadmin.settings import Settings
from segadmin.storage.damage import check_repeatedly, damage_of, is_damage, refuse_damaged
from segadmin.storage.mark import ADOPT, is_store
from segadmin.storage.sqlite import READING, empty_write_ahead_log, file_id, sqlite_engine
from segadmin.urls import mask_secrets, mask_url

#: The newest revision under ``migrations/versions``; a test compares the two.
HEAD = "0024"
#: The database and the session of :func:`one_state`.
_shared: ContextVar[tuple[str, Session | None]] = ContextVar("segadmin_one_state", default=("", None))
#: PostgreSQL's ``undefined_table``; SQLite has no code of its own for it.
_UNDEFINED_TABLE = "42P01"
_MIGRATIONS = Path(__file__).parent / "migrations"


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
            return sqlite_engine(parsed, umask)
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
    """Open a read-only session, or the one of :func:`one_state`. It does not block writers, nor they it.

    On SQLite all queries see one consistent state; on PostgreSQL each query sees its own.

    Raises:
        SchemaOutOfDate, DatabaseDamaged, StorageError: see :func:`transaction`.
    """
    url, shared = _shared.get()
    if shared is not None and url == settings.sqlalchemy_url:
        with translated_errors(settings):
            yield shared
        return
    with _session(settings) as session:
        session.connection(execution_options={READING: True})
        yield session


@contextmanager
def one_state(settings: Settings) -> Iterator[None]:
    """Let all that is read in the body, in this context (:mod:`contextvars`), see one state of an SQLite database.

    It also saves a session for each reading. On PostgreSQL nothing changes: each query sees its own state, and a
    session that waits for other work would be ended.

    Raises:
        SchemaOutOfDate, DatabaseDamaged, StorageError: see :func:`transaction`.
    """
    if engine(settings).dialect.name != "sqlite":
        yield
        return
    with reading(settings) as session, session.no_autoflush:
        token = _shared.set((settings.sqlalchemy_url, session))
        try:
            yield
        finally:
            _shared.reset(token)
            session.expunge_all()  # what the body did to rows is not written


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
        _checked.discard(identity(settings))  # it may be another database that has the same URL by now
        if not isinstance(error, unreachable) and getattr(error.__cause__, "sqlstate", None) != _UNDEFINED_TABLE:
            raise
        raise _unreachable(settings, error) from error


def now(session: Session) -> datetime:
    """Return the time of the database's clock (UTC), so that leases do not depend on synchronized node clocks."""
    if session.get_bind().dialect.name == "postgresql":
        timestamp: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return timestamp.astimezone(UTC)
    return datetime.now(UTC)


#: URL and :func:`file_id` of the databases whose schema this process has checked.
_checked: set[tuple[str, tuple[int, int] | None]] = set()


def identity(settings: Settings) -> tuple[str, tuple[int, int] | None]:
    """Return what tells the database from another one; of PostgreSQL, its URL alone."""
    return settings.sqlalchemy_url, file_id(settings.database_files[0]) if settings.database_files else None


def ensure_schema(settings: Settings) -> None:
    """Check the schema once per process and file; create it if this is the default database and it is empty.

    Raises:
        SchemaOutOfDate: the schema is not the one this version expects.
        StorageError: see :func:`refuse_lost`.
    """
    if identity(settings) in _checked:
        return
    current = revision(settings)
    if current is None:
        refuse_lost(settings)
    if current is None and not settings.database_url:
        upgrade(settings)
    elif current != HEAD:
        _refuse_newer(settings, current)
        state = "has no segadmin tables" if current is None else f"is at revision {current}, not {HEAD}"
        raise SchemaOutOfDate(f"The database {shown(settings)} {state}. Run: segadmin db upgrade")
    _checked.add(identity(settings))


def refuse_lost(settings: Settings) -> None:
    """Refuse a database without tables if the store's folder has data: it belongs to a database that is gone.

    Raises:
        StorageError: the database is missing or empty, and the store is not.
    """
    # In this order: the tables of a new database are created before its store.
    if is_store(settings) and revision(settings) is None:
        files = settings.database_files
        state = "is not there" if files and not files[0].exists() else "has no tables"
        raise StorageError(
            f"The database {shown(settings)} {state}, but {settings.store_path} is the store of one: it was moved or "
            "deleted, or SEGADMIN_DATABASE_URL is wrong. Put it back, or restore both: segadmin restore BACKUP. If it "
            f"is lost for good, go on without it: {ADOPT}"
        )


def revision(settings: Settings) -> str | None:
    """Return the schema revision of the database, or ``None`` if it has no schema.

    A missing file is not created over a store that has been used.
    """
    if settings.database_files and not settings.database_files[0].exists() and is_store(settings):
        return None
    with translated_errors(settings, SQLAlchemyError), engine(settings).connect() as connection:
        connection.execution_options(**{READING: True})  # it does not wait for a writer
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


def upgrade(settings: Settings, *, adopting: bool = False) -> None:
    """Migrate the schema to :data:`HEAD`; safe to call from several processes at once.

    If there is no schema, the tables are created from :mod:`segadmin.storage.records`, without running migrations.

    Args:
        settings: location of the database.
        adopting: whether an empty database is to continue with the store in the folder.

    Raises:
        SchemaOutOfDate: a newer version made the schema.
        StorageError: see :func:`refuse_lost`; or the database cannot be reached.
    """
    if not adopting:
        refuse_lost(settings)
    _refuse_newer(settings, revision(settings))
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


def is_newer(revision: str | None) -> bool:
    """Return whether a newer version made a schema: this one does not know its revision."""
    return revision not in (None, HEAD) and revision not in revisions()


def _refuse_newer(settings: Settings, revision: str | None) -> None:
    if is_newer(revision):
        raise SchemaOutOfDate(
            f"A newer segadmin made the database {shown(settings)}: its revision is {revision}, and this version knows "
            f"those up to {HEAD}. Install that version: pip install --upgrade segadmin"
        )


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
            empty_write_ahead_log(driver)
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


def shown(settings: Settings) -> str:
    """Return the database URL without its password, for messages."""
    return mask_url(settings.sqlalchemy_url)


def _unreachable(settings: Settings, error: SQLAlchemyError) -> StorageError:
    reason = mask_secrets((str(getattr(error, "orig", error)).strip() or repr(error)).splitlines()[0])
    return StorageError(
        f"The database {shown(settings)} cannot be used: {reason}. Check SEGADMIN_DATABASE_URL, or run: segadmin doctor"
    )
