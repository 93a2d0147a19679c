"""The contracts of sources, which rows come from, and sinks, which audiences go to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import polars as pl


class Source(ABC):
    """Reads one kind of file. Cells stay as the file has them; ingest casts them and quarantines the bad ones."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()  #: file names that this source is the default for
    first_line: ClassVar[int] = 1  #: where the first row is: 2 below a header

    @abstractmethod
    def chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        """Yield frames of at most about ``rows`` rows each.

        Raises:
            DataError: the file cannot be read; naming it and the line, where known.
        """


class Sink(ABC):
    """Writes a frame to one kind of file."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, frame: pl.LazyFrame, path: Path) -> int:
        """Write ``frame`` to ``path``, whole or not at all, and return the number of rows."""
