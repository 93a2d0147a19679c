"""The contracts of sources, which rows come from, and sinks, which audiences go to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from segadmin.errors import DataError
from segadmin.files import file_digest
from segadmin.paths import local_path

if TYPE_CHECKING:
    import polars as pl

#: Columns that a source adds where it could not read some rows: why (null for the others), and the row as it is.
UNREADABLE = "segadmin:problem"
UNREADABLE_ROW = "segadmin:row"
#: In what a file may be that is no UTF-8, besides those with one byte a letter; the likelier first.
MULTIBYTE_ENCODINGS = ("gb18030", "big5", "shift_jis")
#: A column that a source may add: the line (Int64, from 1) on which each row begins.
LINE = "segadmin:line"
#: A column that a source may add: the cells, as JSON, that have no column of their own.
OTHER = "segadmin:other"
#: Columns that a file from quarantine has beside those of the shop begin so; an import leaves them out.
NOTE = "quarantine:"
#: The one of a CSV file which says that apostrophes before formulas are to be taken out.
ESCAPED = f"{NOTE}escaped"
#: Names that only a source may give a column: what a client or a file calls so is refused.
RESERVED = frozenset({UNREADABLE, UNREADABLE_ROW, LINE, OTHER, ESCAPED})


def check_names(where: str, names: Iterable[str]) -> None:
    """Check the names that a file or a query gives its columns.

    Raises:
        DataError: one is reserved: it would be taken for what the source says about its rows.
    """
    for name in sorted(RESERVED.intersection(names)):
        raise DataError(f"{where} has a column {name!r}, a name that is reserved for segadmin. Rename the column.")


def refuse_folder(where: str) -> None:
    """Check that ``where`` is no folder.

    Raises:
        DataError: it is one; naming its files.
    """
    if not Path(where).is_dir():
        return
    suffixes: Counter[str] = Counter()
    with suppress(OSError):
        suffixes.update(path.suffix for path in Path(where).iterdir() if path.is_file())
    usual = max(suffixes, key=lambda suffix: suffixes[suffix], default="")
    raise DataError(f"{where} is a folder. Name its files: {where.rstrip('/')}/*{usual}")


class Source(ABC):
    """Reads rows from one kind of place. Cells stay as they are; ingest casts them and quarantines the bad ones."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()  #: file names that this source is the default for
    schemes: ClassVar[tuple[str, ...]] = ()  #: URLs that this source is the default for, such as ``postgresql``
    first_line: ClassVar[int] = 1  #: where the first row is: 2 below a header
    columnar: ClassVar[bool] = False  #: whether rows are read without a Python object each, so that more fit in memory
    typed: ClassVar[bool] = True  #: whether its numbers are the source's own, and never text in a country's format
    consumes: ClassVar[bool] = False  #: whether rows that were kept are not given again, as by a queue
    sets_aside: ClassVar[bool] = False  #: whether :meth:`chunks` is a generator that takes errors of rows it gave

    @classmethod
    def takes(cls, where: str) -> bool:
        """Whether this is the default source for ``where``: by its suffix, or a URL's scheme."""
        if local_path(where) is None:
            return where.partition("://")[0].partition("+")[0] in cls.schemes
        return where.lower().rstrip("/").endswith(cls.suffixes)

    def identity(self, where: str) -> str | None:
        """Return what the content is known by, so that it is imported once; ``None`` where it is new every time.

        Of a source that ``consumes``: what the queue is known by.

        Raises:
            DataError: there is nothing at ``where``, or it cannot be read.
        """
        refuse_folder(where)
        path = Path(where)
        if not path.is_file():
            raise DataError(f"There is no file {where}. Check the path.")
        try:
            return file_digest(path)
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror}. Check its permissions.") from None

    @abstractmethod
    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield frames of at most about ``rows`` rows each; when the next is asked for, the last one is kept.

        A row that cannot be read has the reason in the column :data:`UNREADABLE` and its text in
        :data:`UNREADABLE_ROW`, and goes to quarantine. A column :data:`LINE` gives the line of each row; without it
        rows are counted from :attr:`first_line`. Where :attr:`sets_aside`, an error that rows cannot be kept for is
        raised at their ``yield``, so that others can be given instead.

        Raises:
            DataError: the place cannot be read at all; naming it.
        """


class Sink(ABC):
    """Writes a frame to one kind of file."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    formulas: ClassVar[bool] = False  #: whether programs that open such files take cells that begin with = for formulas

    @abstractmethod
    def write(self, frame: pl.LazyFrame, path: Path) -> int:
        """Write ``frame`` to ``path``, whole or not at all, and return the number of rows."""
