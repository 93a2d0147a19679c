"""The lake: Delta tables that any engine can read, appended to atomically and at most once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from segadmin.errors import StorageError
from segadmin.files import inside, sync
from segadmin.settings import Settings
from segadmin.storage.delta_tables import (
    Address,
    LocalTable,
    drop_history,
    is_table,
    keep_properties,
    open_table,
    vacuum,
    writing,
)
from segadmin.storage.schema import PARTITIONS, SCHEMAS, STATISTICS, TIME
from segadmin.storage.store import check_known

#: What imports write and jobs read.
_READ_BY_JOBS = ("events", "items", "labels", "users")
#: Rows of a row group: what a reader of a short window can leave out at a time.
_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class Commit:
    """A name for one write: the same name and a number not above the last one writes nothing."""

    app: str
    version: int


@dataclass(frozen=True)
class Lake:
    """The Delta tables under one folder."""

    path: Path
    #: Table versions to read, so that what is imported meanwhile is not seen by halves; ``None``: the newest.
    versions: Mapping[str, int] | None = None

    @classmethod
    def of(cls, settings: Settings, versions: Mapping[str, int] | None = None) -> Lake:
        """Return the lake of ``settings``, as it is or as it was at ``versions``.

        Raises:
            SegadminError: the folder is not the database's store; see :func:`segadmin.storage.store.check_known`.
        """
        check_known(settings)
        return cls(settings.store_path / "lake", versions)

    def current_versions(self) -> dict[str, int]:
        """Return the version of every table that jobs read from."""
        tables = [table for table in _READ_BY_JOBS if self.exists(table)]
        return {table: open_table(self.path / table).version() for table in tables}

    def exists(self, table: str) -> bool:
        """Whether anything was ever written to ``table``."""
        return is_table(self.path / table)

    def version(self, table: str) -> int | None:
        """Return the newest version of ``table``, by the names in its log alone; ``None`` where there is no table."""
        log = self.path / table / "_delta_log"
        numbers = [int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()] if log.is_dir() else []
        return max(numbers, default=None)

    def scan(self, table: str, *, buckets: Sequence[int] | None = None, **partition: int | str) -> pl.LazyFrame:
        """Return ``table`` lazily, with its schema even where nothing was written yet.

        Args:
            table: a key of :data:`segadmin.storage.schema.SCHEMAS`.
            buckets: only these buckets.
            partition: only rows where these columns have these values.
        """
        schema = SCHEMAS[table]
        pinned = None if self.versions is None else self.versions.get(table, -1)
        if pinned == -1 or not self.exists(table):
            return pl.LazyFrame(schema=schema)
        frame = pl.scan_delta(open_table(self.path / table, pinned)).select(
            pl.col(name).cast(kind) for name, kind in schema.items()
        )
        for column, value in partition.items():
            frame = frame.filter(pl.col(column) == value)
        if buckets is not None:
            frame = frame.filter(pl.col("bucket").is_in(list(buckets)))
        return frame

    def append(self, table: str, frame: pl.DataFrame, commit: Commit | None = None) -> bool:
        """Append ``frame`` in one atomic commit; return whether it was written.

        With ``commit``, a second append of the same name is left out, so a writer that does not know whether
        its last try arrived can simply try again.
        """
        return self._write(table, frame, commit, mode="append")

    def put_file(self, table: str, frame: pl.DataFrame, name: str, **partition: int) -> AddAction:
        """Write ``frame`` to a file of ``table`` that no reader sees before :meth:`commit_files`.

        Args:
            table: a key of :data:`segadmin.storage.schema.SCHEMAS`.
            frame: rows of one partition; in the order that row groups should have.
            name: unlike that of any other file; writing it again replaces it.
            partition: the values of the table's partition columns.
        """
        folder = Path(*(f"{column}={value}" for column, value in partition.items()))
        path = inside(self.path, f"{table}/{folder}/{name}.parquet")
        content = frame.select(pl.col(one).cast(kind) for one, kind in SCHEMAS[table].items() if one not in partition)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content.write_parquet(path, compression="snappy", row_group_size=_GROUP_ROWS)
            sync(path)
        except (OSError, pl.exceptions.ComputeError) as error:
            raise self._failed(table, error) from error
        return AddAction(
            path=str(folder / path.name),
            size=path.stat().st_size,
            partition_values={column: str(value) for column, value in partition.items()},
            modification_time=int(path.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps(_statistics(content)),
        )

    def commit_files(self, table: str, files: Sequence[AddAction], commit: Commit) -> bool:
        """Make ``files`` part of ``table`` in one atomic commit; return whether that was still to be done."""
        try:
            with writing(self.path / table) as address:
                made = self._make(table, address)
                if _has(made, commit):
                    return False
                made.create_write_transaction(
                    list(files),
                    "append",
                    made.schema(),
                    _partitions(table, address),
                    commit_properties=_once(commit),
                )
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error
        return True

    def overwrite(self, table: str, frame: pl.DataFrame) -> None:
        """Replace the whole table in one atomic commit; older versions stay readable."""
        self._write(table, frame, None, mode="overwrite")

    def replace_partition(self, table: str, frame: pl.DataFrame, column: str, value: str) -> None:
        """Replace the rows where ``column`` is ``value`` in one atomic commit."""
        if not self.exists(table):
            self._write(table, frame, None, mode="append")
            return
        self.replace_rows(table, frame, f"{column} = '{value.replace(chr(39), chr(39) * 2)}'")

    def replace_rows(self, table: str, frame: pl.DataFrame, predicate: str) -> None:
        """Replace the rows where ``predicate`` (SQL) holds, as it does for ``frame``'s, in one atomic commit."""
        try:
            with writing(self.path / table) as address:
                self._open(table, address)
                write_deltalake(
                    address.uri,
                    self._conform(table, frame),
                    mode="overwrite",
                    predicate=predicate,
                    storage_options=address.options,
                )
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error

    def delete(self, table: str, predicate: str) -> None:
        """Delete the rows where ``predicate`` (SQL) holds, in one atomic commit; older versions keep them."""
        if not self.exists(table):
            return
        try:
            with writing(self.path / table) as address:
                self._open(table, address).delete(predicate)
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error

    def files(self, table: str) -> int:
        """Return how many files the table consists of now."""
        return len(open_table(self.path / table).file_uris()) if self.exists(table) else 0

    def compact(self, table: str) -> None:
        """Join small files of each partition, in one atomic commit, and sum the log up in a checkpoint."""
        if not self.exists(table):
            return
        try:
            with writing(self.path / table) as address:
                made = self._open(table, address)
                made.optimize.compact(max_concurrent_tasks=1)
                made.create_checkpoint()
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error

    def vacuum(self, table: str, *, hours: int) -> None:
        """Remove the files that no version of the last ``hours`` needs; older versions cannot be read any more."""
        if not self.exists(table):
            return
        try:
            vacuum(self.path / table, hours)
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error

    def drop_history(self, table: str) -> None:
        """Remove all that is left of older versions: their files, and what the log kept of them.

        Predicates of deletions name keys, and statistics of files that are gone hold values. The commits that make
        imports idempotent stay known.
        """
        if not self.exists(table):
            return
        try:
            vacuum(self.path / table, hours=0)
            drop_history(self.path / table, _properties(table))
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error

    def last_version(self, table: str, app: str) -> int | None:
        """Return the highest commit version that ``app`` wrote to ``table``."""
        if not self.exists(table):
            return None
        version: int | None = open_table(self.path / table).transaction_version(app)
        return version

    @property
    def latest_event(self) -> datetime | None:
        """The newest event's time, by what Delta knows of each file; ``None`` where there are no events."""
        version = None if self.versions is None else self.versions.get("events", -1)
        if version == -1 or not self.exists("events"):
            return None
        files = pl.DataFrame(open_table(self.path / "events", version).get_add_actions(flatten=True))
        if "max.at" not in files.columns or files["max.at"].null_count():
            latest: datetime | None = self.scan("events").select(pl.col("at").max()).collect().item()
            return latest
        newest: datetime | None = files.select(pl.col("max.at").cast(TIME).max()).item()
        return newest

    def _write(
        self, table: str, frame: pl.DataFrame, commit: Commit | None, mode: Literal["append", "overwrite"]
    ) -> bool:
        try:
            with writing(self.path / table) as address:
                made = self._make(table, address)
                if commit is not None and _has(made, commit):
                    return False
                # Written as a change of what was looked at: a commit of that name in between is a conflict.
                write_deltalake(
                    made,
                    self._conform(table, frame),
                    mode=mode,
                    commit_properties=None if commit is None else _once(commit),
                )
        except (DeltaError, OSError) as error:
            raise self._failed(table, error) from error
        return True

    def _make(self, table: str, address: Address) -> LocalTable:
        """Open a table to change it; one that is not there yet is made, without rows."""
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
        """Open a table to change it; one that an older version made gets the properties that tables have now."""
        made = LocalTable(address)
        keep_properties(made, _properties(table))
        return made

    def _conform(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(pl.col(name).cast(kind) for name, kind in SCHEMAS[table].items())

    def _failed(self, table: str, error: Exception) -> StorageError:
        return StorageError(
            f"The table {table!r} in {self.path} cannot be written: {error}. Check the disk and SEGADMIN_STORE."
        )


def _properties(table: str) -> dict[str, str]:
    """Return the Delta properties of ``table``: of which columns its log may hold values."""
    return {"delta.dataSkippingStatsColumns": ",".join(STATISTICS[table])}


def _partitions(table: str, address: Address) -> list[str] | None:
    """Return the columns to partition ``table`` by: texts only where their folders' names are what Delta writes."""
    by = PARTITIONS.get(table, [])
    return [column for column in by if not (address.is_link and SCHEMAS[table][column] == pl.String)] or None


def _has(table: DeltaTable, commit: Commit) -> bool:
    last = table.transaction_version(commit.app)
    return last is not None and last >= commit.version


def _once(commit: Commit) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(commit.app, commit.version)])


def _statistics(content: pl.DataFrame) -> dict[str, object]:
    """Return what Delta keeps of a file, by which readers leave out files of other times."""
    times = [content[name] for name, kind in content.schema.items() if kind == TIME]
    some = [column for column in times if column.null_count() < column.len()]
    return {
        "numRecords": content.height,
        "minValues": {column.name: _as_json(column.min()) for column in some},
        "maxValues": {column.name: _as_json(column.max()) for column in some},
        "nullCount": {column.name: column.null_count() for column in times},
    }


def _as_json(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
