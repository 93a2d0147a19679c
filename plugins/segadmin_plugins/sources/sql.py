"""Reading the result of a query from any database that SQLAlchemy knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.source import Source
from segadmin.urls import fill_in, mask_secrets, mask_url
from segadmin_plugins.sources.drivers import engine_of


@dataclass(frozen=True)
class Sql(Source):
    """A query, as in ``--source sql postgresql://reader:$SHOP_PASSWORD@db/shop --query "SELECT …"``.

    ``$NAME`` in the URL is that environment variable, so that no password stands in a command. The result is read
    through a cursor on the server. It may differ at the next time, so it is always read; what is known is a duplicate.
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
        """Return ``None``: nothing tells whether a query's result is the one from before."""
        if not self.query.strip():
            raise ConfigurationError("The source sql needs a query. Add: --query 'SELECT … FROM …'")

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows; numbers and times keep their types, all else is text."""
        try:
            url = make_url(fill_in(where))
        except (ArgumentError, ValueError):
            raise ConfigurationError(
                f"The database URL {mask_url(where)!r} cannot be read. It is: dialect://user:password@host/name"
            ) from None
        shown = mask_url(where)
        engine = engine_of(url)
        try:
            with engine.connect().execution_options(stream_results=True, yield_per=rows) as connection:
                result = connection.execute(text(self.query))
                columns = list(result.keys())
                for some in result.partitions():
                    cells = list(zip(*some, strict=True))
                    yield pl.DataFrame([_series(name, found) for name, found in zip(columns, cells, strict=True)])
        except (SQLAlchemyError, TypeError) as error:  # a driver's TypeError: the URL has an option that it lacks
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise DataError(f"{shown} refuses the query: {mask_secrets(reason)}") from None
        finally:
            engine.dispose()


def _series(name: str, cells: tuple[object, ...]) -> pl.Series:
    """Return a column: of its own type where all cells have one that ingest reads, else as text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) == 1 and kinds <= {int, float}:
        try:
            return pl.Series(name, cells, dtype=pl.Int64 if kinds == {int} else pl.Float64)
        except (OverflowError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, [None if cell is None else _text(cell) for cell in cells], dtype=pl.String)


def _text(cell: object) -> str:
    if isinstance(cell, bytes | memoryview):
        return bytes(cell).decode("utf-8", "backslashreplace")
    return str(cell).replace("\0", "")
