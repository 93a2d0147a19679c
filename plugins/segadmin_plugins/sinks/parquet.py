"""Writing Parquet files."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from segadmin.contracts.source import Sink
from segadmin_plugins.sinks.files import write_whole


class Parquet(Sink):
    """Parquet, compressed with Zstandard."""

    name = "parquet"
    suffixes = (".parquet", ".pq")

    def write(self, frame: pl.LazyFrame, path: Path) -> int:
        """Write ``frame`` to ``path`` atomically and return the number of rows."""
        return write_whole(frame, path, lambda rows, to: rows.write_parquet(to))
