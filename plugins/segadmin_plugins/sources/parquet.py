"""Reading Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from segadmin.errors import DataError
from segadmin.events.source import Source, check_names


class Parquet(Source):
    """Parquet, of any column types; times without a zone are read in ``--timezone``."""

    name = "parquet"
    suffixes = (".parquet", ".pq")
    columnar = True

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows with the file's own types."""
        try:
            scan = pl.scan_parquet(Path(where))
            check_names(where, scan.collect_schema().names())
            yield from scan.collect_batches(chunk_size=rows, maintain_order=True)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError(f"{where} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
