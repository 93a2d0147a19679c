"""Reading Delta Lake tables, on disk or in object storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from segadmin.contracts.source import Source, check_names
from segadmin.errors import DataError
from segadmin.paths import local_path
from segadmin.storage.delta_tables import open_table
from segadmin.urls import fill_in


@dataclass(frozen=True)
class Delta(Source):
    """A Delta table: a folder, or a URL such as ``s3://bucket/table``, with credentials from the environment."""

    name: ClassVar[str] = "delta"
    columnar: ClassVar[bool] = True
    schemes: ClassVar[tuple[str, ...]] = ("s3", "s3a", "gs", "az", "abfs", "abfss", "hdfs")
    version: int | None = None  #: default: the newest

    @classmethod
    def takes(cls, where: str) -> bool:
        """Whether it is a URL of object storage, or a folder with a Delta log."""
        path = local_path(where)
        return super().takes(where) if path is None else (path / "_delta_log").is_dir()

    def identity(self, where: str) -> str:
        """Return the table's id and version: a new version is new content."""
        table = self._table(where)
        return f"{table.metadata().id}@{table.version()}"

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows of that version with their own types."""
        table = self._table(where)
        try:
            scan = pl.scan_delta(table)
            check_names(where, scan.collect_schema().names())
            yield from scan.collect_batches(chunk_size=rows, maintain_order=True)
        except (pl.exceptions.PolarsError, DeltaError, OSError) as error:
            raise DataError(f"The Delta table {where} cannot be read: {str(error).splitlines()[0]}.") from None

    def _table(self, where: str) -> DeltaTable:
        path = local_path(where)
        try:
            return DeltaTable(fill_in(where), version=self.version) if path is None else open_table(path, self.version)
        except (DeltaError, OSError, ValueError) as error:
            raise DataError(f"There is no Delta table at {where}: {str(error).splitlines()[0]}.") from None
