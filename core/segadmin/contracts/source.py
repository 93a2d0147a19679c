"""The contracts of sources, which read rows, and sinks, which write audiences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from segadmin.errors import DataError
from segadmin.files import file_digest
from segadmin.paths import local_path

if TYPE_CHECKING:
    import polars as pl

    from segadmin.settings import Settings

#: Prefix of the names of our own columns, which never come from a client or a file.
OWN = "segadmin:"
#: Columns that a source adds where it could not read some rows: why (null for the others), and the row as it is.
UNREADABLE = f"{OWN}problem"
UNREADABLE_ROW = f"{OWN}row"
#: Multi-byte encodings to try for files that are not UTF-8, the most likely first.
MULTIBYTE_ENCODINGS = ("gb18030", "big5", "shift_jis")
#: A column that a source may add: the line (Int64, from 1) on which each row begins.
LINE = f"{OWN}line"
#: A column that a source may add: the cells beyond the header, as JSON.
OTHER = f"{OWN}other"
#: Prefix of the columns that quarantine adds to its files; an import ignores them.
NOTE = "quarantine:"
#: The column of a quarantined CSV file that marks rows whose apostrophes before formulas must be removed.
ESCAPED = f"{NOTE}escaped"
#: Suffixes of pictures, which a source reads by the folder.
PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def is_reserved(name: str) -> bool:
    """Whether only segadmin may add a column of this name; a client or a file that uses it is refused."""
    return name.startswith(OWN) or name == ESCAPED


def has_reserved(names: Collection[str]) -> bool:
    """Whether one of ``names`` is reserved; fast where none is, because it is asked of every record."""
    text = "\n".join(names)
    return (OWN in text or ESCAPED in text) and any(map(is_reserved, names))


def check_names(where: str, names: Iterable[str]) -> None:
    """Check the column names of a file or a query.

    Raises:
        DataError: a name is reserved for the columns that segadmin adds.
    """
    for name in sorted(filter(is_reserved, names)):
        raise DataError(f"{where} has a column {name!r}, a name that is reserved for segadmin. Rename the column.")


def refuse_folder(where: str) -> None:
    """Check that ``where`` is not a folder.

    Raises:
        DataError: it is a folder; with a pattern that matches its files.
    """
    if not Path(where).is_dir():
        return
    suffixes: Counter[str] = Counter()
    with suppress(OSError):
        suffixes.update(path.suffix for path in Path(where).iterdir() if path.is_file())
    commonest = max(suffixes, key=lambda suffix: suffixes[suffix], default="")
    if commonest.lower() in PICTURES:
        raise DataError(f"{where} is a folder. If it is a folder of pictures: --source images")
    raise DataError(f"{where} is a folder. Name its files: {where.rstrip('/')}/*{commonest}")


class Source(ABC):
    """Reads rows from one kind of place. Cells are left unchanged; ingest casts them and quarantines invalid rows."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()  #: suffixes of files that this source is the default for
    schemes: ClassVar[tuple[str, ...]] = ()  #: URLs that this source is the default for, such as ``postgresql``
    first_line: ClassVar[int] = 1  #: line of the first row: 2 below a header
    columnar: ClassVar[bool] = (
        False  #: whether rows are read without a Python object per row, so that more fit in memory
    )
    typed: ClassVar[bool] = True  #: whether numbers are typed, never text in a local number format
    consumes: ClassVar[bool] = False  #: whether rows that were stored are removed, as from a queue
    sets_aside: ClassVar[bool] = (
        False  #: whether :meth:`chunks` is a generator that handles errors thrown at its ``yield``
    )

    #: Names of vectors that this source yields for items, and their columns; they are imported without ``--vector``.
    vectors: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def takes(cls, where: str) -> bool:
        """Whether this is the default source for ``where``, by its suffix or the scheme of a URL."""
        if local_path(where) is None:
            return where.partition("://")[0].partition("+")[0] in cls.schemes
        return where.lower().rstrip("/").endswith(cls.suffixes)

    def with_settings(self, settings: Settings) -> Self:
        """Return this source, made for an installation; by default itself. Called once, before all else."""
        return self

    def identity(self, where: str) -> str | None:
        """Return an identifier of the content, so that it is imported once; ``None`` if it is new every time.

        For a source that ``consumes``: an identifier of the queue.

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
        """Yield frames of at most about ``rows`` rows each; when the next one is requested, the last one is stored.

        A row that cannot be read has the reason in the column :data:`UNREADABLE` and its text in
        :data:`UNREADABLE_ROW`, and goes to quarantine. A column :data:`LINE` gives the line of each row; without it
        rows are counted from :attr:`first_line`. If :attr:`sets_aside`, an error that prevents rows from being stored
        is raised at their ``yield``, so that the generator can yield others instead.

        Raises:
            DataError: nothing can be read from ``where``.
        """


class Sink(ABC):
    """Writes a frame to one kind of file."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    formulas: ClassVar[bool] = False  #: whether programs that open such files run cells that begin with = as formulas

    @abstractmethod
    def write(self, frame: pl.LazyFrame, path: Path) -> int:
        """Write ``frame`` to ``path`` atomically, and return the number of rows."""
