"""Reading the result of a query from any database that SQLAlchemy supports."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import polars as pl
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from segadmin.contracts.source import Source, check_names
from segadmin.errors import ConfigurationError, DataError
from segadmin.events.cells import bytes_as_text
from segadmin.urls import MASK, fill_in, mask_secrets, mask_url
from segadmin_plugins.sources.drivers import engine_of

_SQLITE = ("sqlite://", "sqlite+pysqlite://")


@dataclass(frozen=True)
class Sql(Source):
    """A query, as in ``--source sql postgresql://reader:$SHOP_PASSWORD@db/shop --query "SELECT …"``.

    ``$NAME`` in the URL is replaced by that environment variable, so that commands contain no password. The query is
    sent unchanged: colons and percent signs have no special meaning. The result is read through a server-side cursor.
    It may differ each time, so it is always read; known events are duplicates.
    """

    name: ClassVar[str] = "sql"
    schemes: ClassVar[tuple[str, ...]] = (
        "postgresql",
        "postgres",
        "mysql",
        "mariadb",
        "sqlite",
        "mssql",
        "oracle",
        "snowflake",
    )
    query: str = ""

    def identity(self, where: str) -> None:
        """Return ``None``: whether a query's result has changed is unknown."""
        if not self.query.strip():
            raise ConfigurationError("The source sql needs a query. Add: --query 'SELECT … FROM …'")
        _open(where)[0].dispose()

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows; numbers keep their types where a column has one, all else is text."""
        engine, shown = _open(where)
        options = {"stream_results": True, "yield_per": rows, "no_parameters": True}
        try:
            with engine.connect() as connection:
                result = connection.execution_options(**options).exec_driver_sql(self.query)
                columns = list(result.keys())
                _check_columns(columns)
                for partition in result.partitions():
                    cells = zip(*partition, strict=True)
                    yield pl.DataFrame([_series(name, column) for name, column in zip(columns, cells, strict=True)])
        except (SQLAlchemyError, TypeError) as error:  # a TypeError of the driver: the URL has an unknown option
            raise DataError(f"{shown} refuses the query: {_reason(error, engine.url)}") from None
        finally:
            engine.dispose()


def _open(where: str) -> tuple[Engine, str]:
    """Return an engine, which has not connected yet, and the database's name without any secret.

    Raises:
        ConfigurationError: the URL cannot be read, or there is no driver for it.
        DataError: there is no such SQLite file.
    """
    resolved = os.path.expandvars(where) if where.startswith(_SQLITE) else fill_in(where)
    if resolved.startswith(_SQLITE):
        return _open_sqlite(resolved)
    try:
        url = make_url(resolved)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"The database URL {mask_url(where)!r} cannot be read. It is: dialect://user:password@host/name"
        ) from None
    try:
        engine = engine_of(url)
        if engine.driver == "psycopg":
            event.listen(engine, "connect", _leave_times_as_text)
        return engine, mask_url(where)
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{mask_url(where)} cannot be used: {_reason(error, url)}.") from None


def _leave_times_as_text(connection: Any, _record: object) -> None:
    """Read PostgreSQL's times as text: Python has neither ``infinity`` nor the year 10000."""
    from psycopg.types.string import TextLoader

    for name in ("date", "timestamp", "timestamptz", "time", "timetz", "interval"):
        connection.adapters.register_loader(name, TextLoader)
    connection.execute("SET DateStyle TO ISO")
    connection.commit()


def _open_sqlite(url: str) -> tuple[Engine, str]:
    """Open a SQLite file read-only, since SQLite would create a missing one."""
    path = _sqlite_path(url.partition("://")[2])
    if not path.is_file():
        raise DataError(f"There is no SQLite file {path}. Check the path; sqlite:////data/shop.db is an absolute one.")
    location = f"file:{quote(str(path.resolve()))}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(location, uri=True)), f"sqlite:///{path}"


def _sqlite_path(rest: str) -> Path:
    """Return the file that a SQLite URL names: as written, else without its options, else with ``%20`` decoded."""
    rest = rest.removeprefix("/").removeprefix("file:")
    candidates = [rest, rest.partition("?")[0], unquote(rest), unquote(rest.partition("?")[0])]
    return next((path for path in map(Path, candidates) if path.is_file()), Path(candidates[1]))


def _reason(error: Exception, url: URL) -> str:
    """Return the first line of the driver's message, without the secrets of the URL."""
    reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    for secret in filter(None, {url.password, quote(url.password or "", safe="")}):
        reason = reason.replace(str(secret), MASK)
    return mask_secrets(reason)


def _check_columns(columns: list[str]) -> None:
    """Check the names of the result's columns.

    Raises:
        DataError: two have one name, or one has a reserved name.
    """
    check_names("The query's result", columns)
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(
            f"The query gives several columns the name {', '.join(map(repr, repeated))}. Give each a name of its own: "
            f"SELECT a.{repeated[0]} AS a_{repeated[0]} …"
        )


def _series(name: str, cells: tuple[object, ...]) -> pl.Series:
    """Return a column: integers or floats if all cells are, else text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {int}:
        with suppress(OverflowError, TypeError, pl.exceptions.PolarsError):  # beyond 64 bits
            return pl.Series(name, cells, dtype=pl.Int64)
    if kinds == {float}:
        return pl.Series(name, cells, dtype=pl.Float64).fill_nan(None)
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(cell: object) -> str | None:
    """Return a cell as text with all its digits; null for NaN."""
    if cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell)):
        return None
    match cell:
        case bool():
            return str(cell).lower()
        case Decimal() if cell.is_finite():
            return format(cell, "f")
        case bytes() | memoryview():
            return bytes_as_text(bytes(cell))
        case dict() | list() | tuple():
            return json.dumps(cell, ensure_ascii=False, default=_text)
    return str(cell)
