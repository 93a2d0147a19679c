"""The spool: the chunks of an import on disk, before they are added to the lake.

A chunk consists of several files. The last one, ``.json``, is renamed into place when the others are complete, and
holds their names. Thus an interrupted import resumes after the last complete chunk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from segadmin.errors import StorageError
from segadmin.events.cells import lines_of, raw_rows
from segadmin.events.clean import Cleaned
from segadmin.events.row_checks import PROBLEM
from segadmin.files import put, sync

#: Rows of a row group; small, so that reading some buckets skips most of a chunk.
_GROUP_ROWS = 32_768
_FILES = _RAW, _GOOD, _BAD, _USERS = "raw.arrow", "good.parquet", "bad.parquet", "users.parquet"


@dataclass(frozen=True)
class Spool:
    """The folder of one import."""

    folder: Path

    @property
    def chunks(self) -> int:
        """Number of complete chunks."""
        return sum(1 for _ in self.folder.glob("*.json"))

    @property
    def rows(self) -> int:
        """Number of source rows of the complete chunks."""
        return sum(facts["rows"] for facts in self._facts())

    @property
    def changes(self) -> Counter[str]:
        """Rule → number of values that it fixed."""
        return sum((Counter[str](facts["changes"]) for facts in self._facts()), Counter[str]())

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """Number formats of each chunk; see :class:`segadmin.events.number_columns.NumberColumns`."""
        return [facts["numbers"] for facts in self._facts()]

    @property
    def events(self) -> int:
        """Number of events in the complete chunks."""
        return sum(facts.get("events", facts["rows"]) for facts in self._facts())

    @property
    def ignored(self) -> int:
        """Number of events that the mapping ignores."""
        return sum(facts.get("ignored", 0) for facts in self._facts())

    @property
    def statuses(self) -> Counter[str]:
        """Status without a clear meaning → number of kept events."""
        return sum((Counter[str](facts.get("statuses", {})) for facts in self._facts()), Counter[str]())

    def add(self, raw: pl.DataFrame, cleaned: Cleaned, first_line: int) -> None:
        """Store the next chunk durably.

        Raises:
            StorageError: the disk is full or fails.
        """
        marker = self.folder / f"{self.chunks + 1:06}.json"
        chunk = _Chunk(marker, {"files": marker.stem, "rows": raw.height, "first_line": first_line})
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_raw(raw, chunk)
            _write_cleaned(chunk, cleaned)

    def read_again(self, place: int, clean: Callable[[pl.DataFrame, int], Cleaned]) -> None:
        """Clean a chunk again. If this is interrupted, the chunk's facts still mark it as stale.

        Args:
            place: index of the chunk, from 0.
            clean: cleans the source's rows; gets the rows and the first line.

        Raises:
            StorageError: the disk is full or fails.
        """
        chunk = self._chunks()[place]
        cleaned = clean(chunk.raw(), chunk.facts["first_line"])
        with self._writing():
            _write_cleaned(chunk, cleaned)

    def remove_rows(self, choose: Callable[[pl.DataFrame], pl.Series], *, dry_run: bool = False) -> None:
        """Remove rows from the complete chunks; each chunk is replaced atomically.

        Args:
            choose: returns the indices, from 0, of the rows to remove among the source's rows.
            dry_run: remove nothing.

        Raises:
            StorageError: the disk is full or fails.
        """
        for chunk in self._chunks():
            raw = chunk.raw()
            removed = choose(raw).unique()
            if removed.is_empty() or dry_run:
                continue
            with self._writing():
                _write_without(chunk, raw, removed)

    def drop_unfinished(self) -> None:
        """Remove files that do not belong to a complete chunk."""
        kept = {path for chunk in self._chunks() for path in (chunk.marker, *map(chunk.file, _FILES))}
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.ComputeError) as error:
            message = f"{self.folder} cannot be written: {error}. Check the disk and SEGADMIN_STORE."
            raise StorageError(message) from None

    def good(self) -> pl.LazyFrame:
        """Return the usable rows; those of one bucket in their original order."""
        return pl.scan_parquet(self._files(_GOOD), glob=False)

    def users(self) -> pl.LazyFrame:
        """Return ``bucket``, ``user_key`` and ``user`` of the users of each chunk."""
        return pl.scan_parquet(self._files(_USERS), glob=False)

    def bad(self) -> pl.DataFrame:
        """Return the problems of unusable rows, with the columns of ``PROBLEM``."""
        return pl.concat(
            [pl.DataFrame(schema=PROBLEM), *(pl.read_parquet(path, glob=False) for path in self._files(_BAD))]
        )

    def as_they_came(self, bad: pl.DataFrame) -> pl.DataFrame:
        """Return ``bad`` with each original row as JSON, and its line in the source."""
        parts = []
        for chunk in self._chunks():
            first = chunk.facts["first_line"]
            chunk_bad = bad.filter(pl.col("line").is_between(first, first + chunk.facts["rows"], closed="left"))
            if chunk_bad.height:
                raw = chunk.raw()[(chunk_bad["line"] - first).cast(pl.UInt32)]
                parts.append(chunk_bad.with_columns(lines_of(raw, chunk_bad["line"]), row=raw_rows(raw)))
        return pl.concat(parts) if parts else bad.clear().with_columns(row=pl.lit(None, pl.String))

    def _files(self, name: str) -> list[Path]:
        return [chunk.file(name) for chunk in self._chunks()]

    def _facts(self) -> list[dict[str, Any]]:
        return [chunk.facts for chunk in self._chunks()]

    def _chunks(self) -> list[_Chunk]:
        return [_Chunk(path, json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]


@dataclass(frozen=True)
class _Chunk:
    """A chunk's files and its facts."""

    marker: Path
    facts: dict[str, Any]

    @property
    def files(self) -> str:
        """The prefix of its files; in chunks of older releases that of the marker."""
        return str(self.facts.get("files", self.marker.stem))

    def file(self, name: str) -> Path:
        """Return the path of one of :data:`_FILES`."""
        return self.marker.with_name(f"{self.files}.{name}")

    def raw(self) -> pl.DataFrame:
        """Return the original rows."""
        return pl.scan_ipc(self.file(_RAW), glob=False).collect()

    def put_facts(self, **changes: Any) -> None:
        """Complete or update the chunk by replacing its marker."""
        draft = self.marker.with_suffix(".draft")
        draft.write_text(json.dumps(self.facts | changes))
        put(draft, self.marker)


def _write_raw(raw: pl.DataFrame, chunk: _Chunk) -> None:
    # In the newest layout rows share buffers, which would still contain the texts of removed rows.
    raw.write_ipc(chunk.file(_RAW), compression="lz4", compat_level=pl.CompatLevel.oldest())
    sync(chunk.file(_RAW))


def _write_cleaned(chunk: _Chunk, cleaned: Cleaned) -> None:
    good = cleaned.good
    if "bucket" in good.columns:
        good = good.sort("bucket", maintain_order=True)
        users = good.select("bucket", "user_key", "user").unique("user_key", keep="first", maintain_order=True)
        _write(users, chunk.file(_USERS))
        good = good.drop("user")
    _write(good, chunk.file(_GOOD))
    _write(cleaned.bad, chunk.file(_BAD))
    chunk.put_facts(
        events=cleaned.read,
        changes=dict(cleaned.changes),
        numbers=cleaned.numbers,
        ignored=cleaned.ignored,
        statuses=dict(cleaned.statuses),
    )


def _write_without(chunk: _Chunk, raw: pl.DataFrame, removed: pl.Series) -> None:
    """Write a new version of a chunk without the ``removed`` rows (indices), and renumber the following rows."""
    first, indices = chunk.facts["first_line"], pl.int_range(raw.height, eager=True)
    is_kept = ~indices.is_in(removed.implode())
    rows_left = int(is_kept.sum())
    new_lines = pl.int_range(rows_left, eager=True) + first
    lines = pl.LazyFrame({"line": indices.filter(is_kept) + first, "new_line": new_lines})
    name, _, number = chunk.files.partition("-")
    replacement = _Chunk(chunk.marker, chunk.facts | {"files": f"{name}-{int(number or 0) + 1}", "rows": rows_left})
    _write_raw(raw.filter(is_kept), replacement)
    events = 0
    for file_name in (_GOOD, _BAD):
        cleaned = pl.scan_parquet(chunk.file(file_name), glob=False)
        columns = cleaned.collect_schema().names()
        renumbered = cleaned.join(lines, on="line", how="inner", maintain_order="left").with_columns(line="new_line")
        frame = renumbered.select(columns).collect()
        _write(frame, replacement.file(file_name))
        events += frame.height
        if file_name == _GOOD and chunk.file(_USERS).exists():
            users = pl.scan_parquet(chunk.file(_USERS), glob=False)
            _write(users.join(frame.lazy(), on="user_key", how="semi").collect(), replacement.file(_USERS))
    replacement.put_facts(events=events + chunk.facts.get("ignored", 0))
    for file_name in _FILES:
        chunk.file(file_name).unlink(missing_ok=True)


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="lz4", row_group_size=_GROUP_ROWS)
    sync(path)
