"""The lake: Delta tables that any engine can read, with atomic and idempotent appends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction
from polars._typing import PolarsDataType

from segadmin.errors import StorageError
from segadmin.files import inside, sync
from segadmin.settings import Settings
from segadmin.storage.delta_tables import (
    Address,
    LocalTable,
    add_columns,
    address_of,
    drop_history,
    is_table,
    keep_properties,
    log_names,
    open_table,
    scan_table,
    vacuum,
    writing,
)
from segadmin.storage.file_statistics import newest_time, time_statistics
from segadmin.storage.schema import CAME_AS, PARTITIONS, SCHEMAS, STATISTICS
from segadmin.storage.store import check_known

#: The tables that imports write and jobs read.
_READ_BY_JOBS = ("events", "items", "item_vectors", "labels", "users")
#: Rows of a row group, the unit that a reader of a short window can skip.
_GROUP_ROWS = 65_536
#: The same of tables by user, which are sorted by bucket: who looks one user up reads few groups of a million users.
_WRITER = WriterProperties(max_row_group_size=_GROUP_ROWS // 4)


@dataclass(frozen=True)
class Commit:
    """An idempotency key of one write: a version not above the last one of the same app writes nothing."""

    app: str
    version: int


@dataclass(frozen=True)
class Lake:
    """The Delta tables under one folder."""

    path: Path
    #: Table versions to read, so that concurrent imports are not seen in part; ``None``: the newest.
    versions: Mapping[str, int] | None = None
    #: Tables that were opened at a pinned version, which do not change: opening one reads its whole log.
    _opened: dict[str, LocalTable] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, settings: Settings, versions: Mapping[str, int] | None = None) -> Lake:
        """Return the lake of ``settings`` at ``versions``, by default the newest.

        Raises:
            SegadminError: the folder is not the database's store; see :func:`segadmin.storage.store.check_known`.
        """
        check_known(settings)
        return cls(settings.store_path / "lake", versions)

    def current_versions(self) -> dict[str, int]:
        """Return the version of every table that jobs read from."""
        tables = [table for table in _READ_BY_JOBS if self.exists(table)]
        return {table: open_table(self.path / table).version() for table in tables}

    def gone(self) -> list[str]:
        """Return the tables whose version is no longer in the log: an erasure removes all but the newest."""
        chosen = (self.versions or {}).items()
        return [table for table, version in chosen if f"{version:020}.json" not in log_names(self.path / table)]

    def exists(self, table: str) -> bool:
        """Whether ``table`` exists, that is, has ever been written to."""
        return is_table(self.path / table)

    def version(self, table: str) -> int | None:
        """Return the newest version of ``table``, from file names in its log; ``None`` if there is no table."""
        stems = (name.removesuffix(".json") for name in log_names(self.path / table) if name.endswith(".json"))
        return max((int(stem) for stem in stems if stem.isdigit()), default=None)

    def scan(
        self,
        table: str,
        *,
        buckets: Sequence[int] | None = None,
        file_filter: Callable[[str], bool] | None = None,
        **partition: int | str | Sequence[int],
    ) -> pl.LazyFrame:
        """Return ``table`` as a lazy frame; without rows if nothing was written yet.

        Args:
            table: a key of :data:`segadmin.storage.schema.SCHEMAS`.
            buckets: read only these buckets.
            file_filter: of the path of a file; rows of those for which it is false may be missing.
            partition: read only rows in which these columns have this value, or one of these.
        """
        schema = SCHEMAS[table]
        chosen = {column: [value] if isinstance(value, int | str) else value for column, value in partition.items()}
        if buckets is not None:
            chosen["bucket"] = buckets
        pinned = None if self.versions is None else self.versions.get(table, -1)
        if pinned == -1 or (table not in self._opened and not self.exists(table)):
            return pl.LazyFrame(schema=schema)
        delta_table = self._opened.get(table) or self._table(table, pinned)
        if pinned is not None:
            self._opened[table] = delta_table
        columns = delta_table.columns
        frame = scan_table(delta_table, chosen, file_filter).select(
            pl.col(name).cast(dtype) if name in columns else pl.lit(None, dtype).alias(name)
            for name, dtype in schema.items()
        )
        for column, values in chosen.items():  # Polars leaves out more of a file for an equality
            is_read = pl.col(column) == values[0] if len(values) == 1 else pl.col(column).is_in(list(values))
            frame = frame.filter(is_read)
        return frame

    def _table(self, table: str, version: int | None) -> LocalTable:
        """Open a table for reading; of the newest version the log is read once by a process."""
        folder = self.path / table
        newest = self.version(table) if version is None else None
        if newest is None:
            return open_table(folder, version)
        try:
            status = (folder / "_delta_log" / f"{newest:020}.json").stat()
            return _newest_table(address_of(folder), newest, (status.st_ino, status.st_mtime_ns))
        except (FileNotFoundError, DeltaError):  # its history was dropped just now
            return open_table(folder)

    def append(self, table: str, frame: pl.DataFrame, commit: Commit | None = None) -> bool:
        """Append ``frame`` in one atomic commit; return whether it was written.

        With ``commit``, a second append with the same key writes nothing, so a writer can safely retry.
        """
        return self._write(table, frame, commit, mode="append")

    def put_file(self, table: str, frame: pl.DataFrame, name: str, **partition: int) -> AddAction:
        """Write ``frame`` to a file of ``table``; readers see it after :meth:`commit_files`.

        Args:
            table: a key of :data:`segadmin.storage.schema.SCHEMAS`.
            frame: rows of one partition, in the order for the row groups.
            name: a unique file name; writing it again replaces the file.
            partition: the values of the table's partition columns.
        """
        folder = Path(*(f"{column}={value}" for column, value in partition.items()))
        path = inside(self.path, f"{table}/{folder}/{name}.parquet")
        schema = {column: dtype for column, dtype in SCHEMAS[table].items() if column not in partition}
        content = _conform(frame, schema)
        with self._storage_errors(table, pl.exceptions.ComputeError):
            path.parent.mkdir(parents=True, exist_ok=True)
            content.write_parquet(path, compression="snappy", row_group_size=_GROUP_ROWS)
            sync(path)
        return AddAction(
            path=str(folder / path.name),
            size=path.stat().st_size,
            partition_values={column: str(value) for column, value in partition.items()},
            modification_time=int(path.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps(time_statistics(content)),
        )

    def commit_files(self, table: str, files: Sequence[AddAction], commit: Commit) -> bool:
        """Add ``files`` to ``table`` in one atomic commit; return ``False`` if ``commit`` was made before."""
        with self._writing(table) as address:
            delta_table = self._make(table, address)
            if _has(delta_table, commit):
                return False
            delta_table.create_write_transaction(
                list(files),
                "append",
                delta_table.schema(),
                _partitions(table, address),
                commit_properties=_once(commit),
            )
        return True

    def overwrite(self, table: str, frame: pl.DataFrame) -> None:
        """Replace the whole table in one atomic commit; older versions stay readable."""
        self._write(table, frame, None, mode="overwrite")

    def replace_partition(self, table: str, frame: pl.DataFrame, column: str, value: str) -> None:
        """Replace the rows where ``column`` is ``value`` in one atomic commit."""
        if not self.exists(table):
            self._write(table, frame, None, mode="append")
            return
        self.replace_rows(table, frame, equals(column, value))

    def replace_rows(self, table: str, frame: pl.DataFrame, predicate: str) -> None:
        """Replace the rows that match ``predicate`` (SQL) in one atomic commit; all rows of ``frame`` must match it."""
        with self._writing(table) as address:
            self._open(table, address)
            write_deltalake(
                address.uri,
                _conform(frame, SCHEMAS[table]),
                mode="overwrite",
                predicate=predicate,
                storage_options=address.options,
                writer_properties=_WRITER,
            )

    def delete(self, table: str, predicate: str) -> None:
        """Delete the rows that match ``predicate`` (SQL) in one atomic commit; older versions keep them."""
        if not self.exists(table):
            return
        with self._writing(table) as address:
            self._open(table, address).delete(predicate, writer_properties=_WRITER)

    def files(self, table: str) -> int:
        """Return the number of files of the table's newest version."""
        return len(open_table(self.path / table).file_uris()) if self.exists(table) else 0

    def small_files(self, table: str, largest: int) -> int:
        """Return the number of files of the table's newest version that have less than ``largest`` bytes."""
        if not self.exists(table):
            return 0
        files = pl.DataFrame(open_table(self.path / table).get_add_actions(flatten=True))
        return int((files["size_bytes"] < largest).sum())

    def compact(self, table: str, target_bytes: int | None = None) -> None:
        """Join the small files of each partition in one atomic commit, and write a checkpoint of the log.

        With ``target_bytes``, files of this size are left alone, and none becomes much larger.
        """
        if not self.exists(table):
            return
        with self._writing(table) as address:
            delta_table = self._open(table, address)
            delta_table.optimize.compact(target_size=target_bytes, max_concurrent_tasks=1, writer_properties=_WRITER)
            delta_table.create_checkpoint()

    def vacuum(self, table: str, *, hours: int) -> None:
        """Remove the files that only versions older than ``hours`` need; those versions become unreadable."""
        if not self.exists(table):
            return
        with self._storage_errors(table):
            vacuum(self.path / table, hours)

    def drop_history(self, table: str) -> None:
        """Remove the files of older versions and their entries in the log.

        Predicates of deletions contain user keys, and statistics of removed files contain values. The commits that
        make imports idempotent are kept.
        """
        if not self.exists(table):
            return
        with self._storage_errors(table):
            vacuum(self.path / table, hours=0)
            drop_history(self.path / table, _properties(table))

    def last_version(self, table: str, app: str) -> int | None:
        """Return the highest commit version that ``app`` wrote to ``table``."""
        if not self.exists(table):
            return None
        version: int | None = open_table(self.path / table).transaction_version(app)
        return version

    @property
    def latest_event(self) -> datetime | None:
        """The time of the newest event, by Delta's file statistics; ``None`` if there are no events."""
        version = None if self.versions is None else self.versions.get("events", -1)
        if version == -1 or not self.exists("events"):
            return None
        return newest_time(open_table(self.path / "events", version), "at")

    def _write(
        self, table: str, frame: pl.DataFrame, commit: Commit | None, mode: Literal["append", "overwrite"]
    ) -> bool:
        with self._writing(table) as address:
            delta_table = self._make(table, address)
            if commit is not None and _has(delta_table, commit):
                return False
            # Based on the version that was checked: a commit with the same key in between is a conflict.
            write_deltalake(
                delta_table,
                _conform(frame, SCHEMAS[table]),
                mode=mode,
                commit_properties=None if commit is None else _once(commit),
                writer_properties=_WRITER,
            )
        return True

    def _make(self, table: str, address: Address) -> LocalTable:
        """Open a table for writing; create it, without rows, if it is missing."""
        if not is_table(self.path / table):
            DeltaTable.create(
                address.uri,
                SCHEMAS[table],
                mode="ignore",
                partition_by=_partitions(table, address),
                storage_options=address.options,
                configuration=_properties(table),
            )
        return self._open(table, address)

    def _open(self, table: str, address: Address) -> LocalTable:
        """Open a table for writing; bring one that an older release created up to date in properties and columns."""
        delta_table = LocalTable(address)
        keep_properties(delta_table, _properties(table))
        add_columns(delta_table, SCHEMAS[table])
        return delta_table

    @contextmanager
    def _writing(self, table: str) -> Iterator[Address]:
        """Yield the address for writing a table; see :meth:`_storage_errors`."""
        with self._storage_errors(table), writing(self.path / table) as address:
            yield address

    @contextmanager
    def _storage_errors(self, table: str, *others: type[Exception]) -> Iterator[None]:
        """Raise errors of Delta Lake and the file system, and ``others``, as errors of writing ``table``."""
        kinds: tuple[type[Exception], ...] = (DeltaError, OSError, *others)
        try:
            yield
        except kinds as error:
            raise StorageError(
                f"The table {table!r} in {self.path} cannot be written: {error}. Check the disk and SEGADMIN_STORE."
            ) from error


@lru_cache(32)
def _newest_table(address: Address, version: int, _log_file: tuple[int, int]) -> LocalTable:
    """Open a table at a version; ``_log_file`` tells its log from that of another table that came in its place."""
    return LocalTable(address, version)


def equals(column: str, value: str) -> str:
    """Return the predicate (SQL) of the rows in which ``column`` is ``value``."""
    return f"{column} = '{value.replace(chr(39), chr(39) * 2)}'"


def _conform(frame: pl.DataFrame, schema: Mapping[str, PolarsDataType]) -> pl.DataFrame:
    """Return ``frame`` with the columns of ``schema``."""
    return frame.select(
        pl.lit(None, dtype).alias(name) if name == CAME_AS and name not in frame.columns else pl.col(name).cast(dtype)
        for name, dtype in schema.items()
    )


def _properties(table: str) -> dict[str, str]:
    """Return the Delta properties of ``table``: the columns whose statistics its log may contain."""
    return {"delta.dataSkippingStatsColumns": ",".join(STATISTICS[table])}


def _partitions(table: str, address: Address) -> list[str] | None:
    """Return the columns to partition ``table`` by; behind a link no text columns, whose values Delta encodes."""
    columns = PARTITIONS.get(table, [])
    return [column for column in columns if not (address.is_link and SCHEMAS[table][column] == pl.String)] or None


def _has(table: DeltaTable, commit: Commit) -> bool:
    last = table.transaction_version(commit.app)
    return last is not None and last >= commit.version


def _once(commit: Commit) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(commit.app, commit.version)])
