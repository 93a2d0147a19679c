"""Delta tables in local folders of any name.

Delta-rs and Polars interpret a table's path as a URL or a pattern, each differently:

- Polars looks for a table's files under the percent-encoded URL, so it finds none if the path contains a space.
- Polars expands ``* ? [ ]`` and interprets ``key=value`` in any parent folder of the table as a partition.
- Delta-rs decodes ``%20``, replaces backslashes, crashes on ``[ ] | ^`` and refuses control characters. It resolves
  links first, so a link to the same folder does not help.

Therefore Polars gets the paths of the files. If the path itself cannot be used, both get a link with a plain name, and
delta-rs uses its OpenDAL backend, the only one that keeps the root of a table out of URLs.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, Schema

from segadmin.errors import StorageError
from segadmin.files import inside, private_folder

#: Characters that delta-rs or Polars misread in a path.
_MISREAD = re.compile(r"[\x00-\x1f\x7f*?\[\]=|^\\%]")
#: The table's folder in its root, for OpenDAL.
_NAME = "table"
_LAST_CHECKPOINT = "_last_checkpoint"
#: The beginning of a commit or a checkpoint in the log.
_LOGGED = re.compile(r"[0-9]{20}\.(?:json$|checkpoint\.)")
#: With more files, leaving out some by the statistics in the log saves more time than choosing takes.
_FEW_FILES = 64
#: Choices of files that a table remembers: whoever reads it in groups of buckets repeats a few.
_MOST_CHOICES = 64
#: The folder of OpenDAL's incomplete files, and the suffix of those of delta-rs' own store.
_DRAFTS, _DRAFT = "_drafts", re.compile(r"\.(?:parquet|json)#[0-9]+$")


@dataclass(frozen=True)
class Address:
    """The location of a local table: the URI for delta-rs and the folder for Polars."""

    uri: str
    folder: Path
    #: Storage options; set if the folder is reached through a link.
    options: dict[str, str] | None = field(default=None, hash=False)

    @property
    def is_link(self) -> bool:
        """Whether the folder is reached through a link because its own path cannot be used."""
        return self.options is not None


class LocalTable(DeltaTable):
    """A Delta table that returns file paths in the form that Polars can read."""

    def __init__(self, address: Address, version: int | None = None) -> None:
        self._address = address
        self._paths: dict[str, list[str]] = {}  # what was chosen of a version → the files
        super().__init__(address.uri, version=version, storage_options=address.options)

    @property
    def table_uri(self) -> str:
        """The folder, as a path."""
        return str(self._address.folder)

    @property
    def columns(self) -> frozenset[str]:
        """The names of the table's columns."""
        return frozenset(column.name for column in self.schema().fields)

    def file_uris(self, *args: Any, **options: Any) -> list[str]:
        """Return the paths of the table's files; to choose among hundreds of files takes milliseconds, once."""
        choice = f"{self.version()} {args} {options}"
        paths = self._paths.get(choice)
        if paths is None:
            paths = [self._path(uri) for uri in super().file_uris(*args, **options)]
            if len(self._paths) >= _MOST_CHOICES:
                self._paths.clear()
            self._paths[choice] = paths
        return [*paths]

    def deletion_vectors(self) -> Any:
        """Return which rows of which files are deleted, with file paths as in :meth:`file_uris`."""
        path = pl.col("filepath").map_elements(self._path, return_dtype=pl.String)
        return pl.DataFrame(super().deletion_vectors()).with_columns(path)

    def _path(self, uri: str) -> str:
        root = super().table_uri.rstrip("/")
        relative = uri.removeprefix("file://").removeprefix(root.removeprefix("file://"))
        return f"{self.table_uri}/{relative.lstrip('/')}"


def address_of(folder: Path) -> Address:
    """Return the address of the table in ``folder``.

    Raises:
        StorageError: a link is needed and cannot be created.
    """
    real = folder.resolve()
    if _MISREAD.search(str(real)) is None:
        return Address(str(real), real)
    root = _linked(real)
    options = {"opendal.root": str(root)}
    return Address(f"opendal+fs:///{_NAME}", root / _NAME, options)


@contextmanager
def writing(folder: Path) -> Iterator[Address]:
    """Create ``folder`` if it is missing and yield the address for writing its table.

    OpenDAL's commits, unlike those of delta-rs itself, do not exclude each other, so a lock serializes writers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = address_of(folder)
    if address.options is None:
        yield address
        return
    if any("%" in part.name for part in folder.iterdir()):  # OpenDAL would decode their names
        raise StorageError(
            f"{folder} was created under another path and cannot be written here: Delta Lake cannot have both "
            "percent-encoded partitions and this path. Rename the folders in it that have one of: * ? [ ] = | ^ \\ %"
        )
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A file gets its name once it is complete, so neither a reader nor a crash sees half a commit.
        drafts = {"opendal.atomic_write_dir": str(address.folder / _DRAFTS)}
        yield replace(address, options=address.options | drafts)
    finally:
        os.close(lock)


def open_table(folder: Path, version: int | None = None) -> LocalTable:
    """Open the table in ``folder`` at ``version``, by default the latest."""
    return LocalTable(address_of(folder), version)


def scan_table(
    table: LocalTable, chosen: Mapping[str, Sequence[int | str]], file_filter: Callable[[str], bool] | None = None
) -> pl.LazyFrame:
    """Return the rows of a table; those of other partitions and files may be missing.

    Polars takes milliseconds to choose among the files of a Delta table, so it gets a few files as they are.

    Args:
        table: an open one.
        chosen: the values of columns that are read, of which those count that the table is partitioned by.
        file_filter: of the path of a file.
    """
    partitions = table.metadata().partition_columns
    filters = [
        (column, "in", [str(value) for value in chosen[column]])
        for column in partitions
        if column in chosen and "" not in chosen[column]  # in a partition, Delta stores an empty text as no value
    ]
    paths = list(filter(file_filter, table.file_uris(file_pruning_predicate=filters or None)))
    if len(paths) > _FEW_FILES or table.protocol().min_reader_version > 1:
        return pl.scan_delta(table)
    schema = pl.Schema(table.schema())
    if not paths:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(
        paths,
        glob=False,
        schema=schema,
        hive_partitioning=bool(partitions),
        hive_schema={column: schema[column] for column in partitions} or None,
        missing_columns="insert",
        extra_columns="ignore",
    )


def is_table(folder: Path) -> bool:
    """Whether there is a Delta table in ``folder``: its log has a commit or a checkpoint.

    Delta-rs tells the same in some milliseconds.
    """
    return any(_LOGGED.match(name) for name in log_names(folder))


def log_names(folder: Path) -> list[str]:
    """Return the names of the files in the log of the table in ``folder``; none if there is no table."""
    try:
        with os.scandir(folder / "_delta_log") as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []


def vacuum(folder: Path, hours: int) -> None:
    """Remove the files that only versions older than ``hours`` need."""
    with writing(folder) as address:
        table = LocalTable(address)
        unneeded = table.vacuum(
            retention_hours=hours, dry_run=address.is_link, enforce_retention_duration=False, full=True
        )
        if address.is_link:  # OpenDAL would also remove folders and stop at the first that is not empty
            for name in filter(None, unneeded):
                if (path := inside(folder, name)).is_file():
                    path.unlink(missing_ok=True)


def keep_properties(table: DeltaTable, properties: Mapping[str, str]) -> None:
    """Set these properties of a table if they differ."""
    if not properties.items() <= table.metadata().configuration.items():
        table.alter.set_table_properties(dict(properties))


def add_columns(table: LocalTable, schema: pl.Schema) -> None:
    """Add the columns of ``schema`` that a table lacks; rows from before have nulls in them."""
    columns = table.columns
    missing = {name: dtype for name, dtype in schema.items() if name not in columns}
    if missing:
        table.alter.add_columns(list(Schema.from_arrow(pl.DataFrame(schema=missing).to_arrow().schema).fields))


def drop_history(folder: Path, properties: Mapping[str, str]) -> None:
    """Truncate the log of the table in ``folder`` to one checkpoint and one commit that only sets ``properties``."""
    with writing(folder) as address:
        LocalTable(address).alter.set_table_properties(dict(properties))
        table = LocalTable(address)
        table.create_checkpoint()
        begin = f"{table.version():020}."
        # In order, so that after a kill only the beginning of the log is missing, which every reader accepts.
        for path in sorted((folder / "_delta_log").iterdir()):
            if path.is_file() and path.name != _LAST_CHECKPOINT and not path.name.startswith(begin):
                path.unlink()
        _drop_drafts(folder)


def is_draft(path: Path) -> bool:
    """Whether ``path`` is a file that a writer has not completed."""
    return _DRAFT.search(path.name) is not None or path.parent.name == _DRAFTS


def _drop_drafts(folder: Path) -> None:
    """Remove the incomplete files of killed writers, which delta-rs does not list."""
    for path in folder.rglob("*"):
        if path.is_file() and is_draft(path):
            path.unlink(missing_ok=True)


def _linked(folder: Path) -> Path:
    """Return a private folder with a plain path in which :data:`_NAME` is a link to ``folder``."""
    temporary = tempfile.gettempdir()
    if _MISREAD.search(temporary) or not temporary.isascii() or " " in temporary:
        temporary = "/tmp"  # noqa: S108  (ownership is checked)
    digest = blake2s(os.fsencode(folder), digest_size=12).hexdigest()
    root = private_folder(temporary) / digest
    try:
        root.mkdir(0o700, exist_ok=True)
        link = root / _NAME
        if not link.is_symlink():
            link.symlink_to(folder)
    except FileExistsError:  # another process created it at the same time
        pass
    except OSError as error:
        raise StorageError(f"{root} cannot be written: {error.strerror}. Set TMPDIR to a folder of your own.") from None
    return root
