"""Writing CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from segadmin.contracts.source import Sink
from segadmin_plugins.sinks.files import write_whole


@dataclass(frozen=True)
class Csv(Sink):
    """CSV in UTF-8 with a byte-order mark, which Excel needs to show Chinese correctly."""

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    formulas: ClassVar[bool] = True
    byte_order_mark: bool = True

    def write(self, frame: pl.LazyFrame, path: Path) -> int:
        """Write ``frame`` to ``path`` atomically and return the number of rows."""
        return write_whole(frame, path, lambda rows, to: rows.write_csv(to, include_bom=self.byte_order_mark))
