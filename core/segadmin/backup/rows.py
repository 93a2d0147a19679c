"""The rows of the database as lines of JSON, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Column, Connection, DateTime, MetaData, Table, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from segadmin.errors import DataError, StorageError
from segadmin.settings import Settings
from segadmin.storage.database import engine, ensure_schema, migrate, own_tables, translated_errors
from segadmin.storage.sqlite import READING
from segadmin.training.study import create_tables, table_names

#: The table of the schema revision, which is not copied: migrations write it.
_REVISION = "alembic_version"
_BATCH = 1000


@contextmanager
def one_state(settings: Settings) -> Iterator[Connection]:
    """Open a connection on which all queries see the same state of the database, and which blocks no writer.

    Raises:
        StorageError: the database cannot be reached, is damaged, or has another schema.
    """
    ensure_schema(settings)
    with translated_errors(settings, SQLAlchemyError), engine(settings).connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        else:
            connection.execution_options(**{READING: True})
        with connection.begin():
            yield connection


def copied_tables(connection: Connection) -> tuple[list[Table], list[str]]:
    """Return the tables to copy, referenced ones first, and the names of others, which belong to plugins."""
    names = set(inspect(connection).get_table_names()) - {_REVISION}
    own = {table.name for table in own_tables()} | table_names()
    return _reflected(connection, names & own), sorted(names - own)


def _reflected(connection: Connection, names: Iterable[str]) -> list[Table]:
    metadata = MetaData()
    metadata.reflect(connection, only=sorted(names))
    wanted = [table for table in metadata.sorted_tables if table.name in set(names)]
    for column in (column for table in wanted for column in table.columns):
        if isinstance(column.type, JSON):
            column.type.none_as_null = True  # otherwise NULL would become the JSON value null
    return wanted


def lines_of(connection: Connection, table: Table) -> Iterator[bytes]:
    """Yield the names of the columns, then each row, as lines of JSON; times are ISO 8601."""
    yield _line([column.name for column in table.columns])
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": _BATCH}):
        yield _line(list(row))


def _line(values: list[Any]) -> bytes:
    return json.dumps(values, default=_encoded, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _encoded(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not copied")


def is_empty(settings: Settings) -> bool:
    """Whether the database has no tables at all.

    Raises:
        StorageError: the database cannot be reached, or is damaged.
    """
    with translated_errors(settings, SQLAlchemyError), engine(settings).connect() as connection:
        return not inspect(connection).get_table_names()


@contextmanager
def filled(settings: Settings, revision: str, tables: Sequence[tuple[str, Iterable[bytes]]]) -> Iterator[None]:
    """Create the tables of ``revision``, insert the rows, and migrate to this version; commit after the body.

    Args:
        settings: location of an empty database.
        revision: the schema revision of the rows.
        tables: the name of each table and its lines, as :func:`lines_of` yields them; referenced tables first.

    Raises:
        StorageError: the rows do not fit the tables, or the database cannot be reached; nothing was written.
    """
    names = [name for name, _ in tables]
    with translated_errors(settings, SQLAlchemyError), engine(settings).begin() as connection:
        migrate(connection, revision)
        if table_names() & set(names):
            create_tables(connection)
        if missing := sorted(set(names) - set(inspect(connection).get_table_names())):
            raise StorageError(
                f"The backup has the table {missing[0]}, which this installation cannot create. Run: "
                "pip install 'segadmin[worker]'"
            )
        by_name = {table.name: table for table in _reflected(connection, names)}
        for name, lines in tables:
            try:
                _insert(connection, by_name[name], lines)
            except (ValueError, TypeError, AttributeError, StopIteration, RecursionError) as error:
                raise DataError(
                    f"The table {name} in the backup is damaged ({type(error).__name__}). Use another backup."
                ) from None
        migrate(connection)
        yield


def _insert(connection: Connection, table: Table, lines: Iterable[bytes]) -> None:
    rows = iter(lines)
    names = json.loads(next(rows))
    if not isinstance(names, list):
        raise TypeError("the first line is no list of columns")
    if unknown := set(names) - set(table.columns.keys()):
        raise StorageError(f"The backup has {table.name}.{min(unknown)}, which this version does not know. Upgrade it.")
    decoders = [_decoder(table.columns[name]) for name in names]
    while batch := list(islice(rows, _BATCH)):
        decoded = [[decode(value) for decode, value in zip(decoders, json.loads(row), strict=True)] for row in batch]
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in decoded])
    if connection.dialect.name == "postgresql":
        _go_on_counting(connection, table)


def _decoder(column: Column[Any]) -> Callable[[Any], Any]:
    if not isinstance(column.type, DateTime):
        return lambda value: value
    aware = column.type.timezone  # SQLite has no time zones: its times are UTC

    def decode(value: str | None) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value)
        if aware:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment

    return decode


def _go_on_counting(connection: Connection, table: Table) -> None:
    """Set the sequence of a table's numbers, which rows with numbers of their own do not move."""
    for column in table.primary_key.columns:
        name = connection.execute(
            text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": f'"{table.name}"', "column": column.name}
        ).scalar()
        if name is not None:
            next_number = (connection.execute(select(func.max(column))).scalar() or 0) + 1
            connection.execute(text("SELECT setval(:name, :next, false)"), {"name": name, "next": next_number})
