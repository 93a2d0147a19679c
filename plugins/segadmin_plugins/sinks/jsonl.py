"""Writing JSON lines."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from segadmin.contracts.source import Sink
from segadmin_plugins.sinks.files import write_whole


class JsonLines(Sink):
    """One JSON object per line, in UTF-8."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson")

    def write(self, frame: pl.LazyFrame, path: Path) -> int:
        """Write ``frame`` to ``path`` atomically and return the number of rows."""
        return write_whole(frame, path, lambda rows, to: rows.write_ndjson(to))
