"""The spool: an import on its way, chunk by chunk, on disk; the lake knows nothing of it yet.

A chunk is some files, of which the last to get its name, ``.json``, says that the others are there, and what they are
called: so an import that was killed goes on behind the last whole chunk.
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
from segadmin.events.clean import PROBLEM, Cleaned
from segadmin.files import put, sync

#: Rows of a row group: few enough that reading some buckets skips most of a chunk.
_GROUP_ROWS = 32_768
_FILES = _RAW, _GOOD, _BAD, _USERS = "raw.arrow", "good.parquet", "bad.parquet", "users.parquet"


@dataclass(frozen=True)
class Spool:
    """The folder of one import."""

    folder: Path

    @property
    def chunks(self) -> int:
        """How many chunks are whole."""
        return sum(1 for _ in self.folder.glob("*.json"))

    @property
    def rows(self) -> int:
        """How many rows the whole chunks were read from."""
        return sum(told["rows"] for told in self._told())

    @property
    def changes(self) -> Counter[str]:
        """How many values each rule mended."""
        return sum((Counter[str](told["changes"]) for told in self._told()), Counter[str]())

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """How the numbers of each chunk were read; see :class:`segadmin.events.number_columns.NumberColumns`."""
        return [told["numbers"] for told in self._told()]

    @property
    def events(self) -> int:
        """How many events the rows of the whole chunks held."""
        return sum(told.get("events", told["rows"]) for told in self._told())

    @property
    def ignored(self) -> int:
        """How many events the mapping leaves out."""
        return sum(told.get("ignored", 0) for told in self._told())

    @property
    def statuses(self) -> Counter[str]:
        """How many kept events have a status that nothing decides."""
        return sum((Counter[str](told.get("statuses", {})) for told in self._told()), Counter[str]())

    def add(self, raw: pl.DataFrame, cleaned: Cleaned, first_line: int) -> None:
        """Keep the next chunk, so that it is there even after a loss of power.

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
        """Replace what a chunk was read as. If that is interrupted, its facts still say that it is to be read again.

        Args:
            place: which chunk, from 0.
            clean: reads its rows, given as they came, and their first line.

        Raises:
            StorageError: the disk is full or fails.
        """
        chunk = self._chunks()[place]
        cleaned = clean(chunk.raw(), chunk.facts["first_line"])
        with self._writing():
            _write_cleaned(chunk, cleaned)

    def remove_rows(self, choose: Callable[[pl.DataFrame], pl.Series], *, dry_run: bool = False) -> None:
        """Remove rows from the whole chunks, one chunk after the other, each whole or not at all.

        Args:
            choose: returns the places, from 0, of the rows to remove among those that it gets, as they came.
            dry_run: remove nothing.

        Raises:
            StorageError: the disk is full or fails.
        """
        for chunk in self._chunks():
            raw = chunk.raw()
            gone = choose(raw).unique()
            if gone.is_empty() or dry_run:
                continue
            with self._writing():
                _write_without(chunk, raw, gone)

    def drop_unfinished(self) -> None:
        """Remove the files that are of no whole chunk."""
        kept = {path for chunk in self._chunks() for path in (chunk.marker, *map(chunk.file, _FILES))}
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.ComputeError) as error:
            told = f"{self.folder} cannot be written: {error}. Check the disk and SEGADMIN_STORE."
            raise StorageError(told) from None

    def good(self) -> pl.LazyFrame:
        """Return the rows that can be used; those of one bucket in the order that they came in."""
        return pl.scan_parquet(self._files(_GOOD), glob=False)

    def users(self) -> pl.LazyFrame:
        """Return bucket, user_key and user of every user of each chunk."""
        return pl.scan_parquet(self._files(_USERS), glob=False)

    def bad(self) -> pl.DataFrame:
        """Return what tells the rows that cannot be used: the columns of ``PROBLEM``."""
        return pl.concat(
            [pl.DataFrame(schema=PROBLEM), *(pl.read_parquet(path, glob=False) for path in self._files(_BAD))]
        )

    def as_they_came(self, bad: pl.DataFrame) -> pl.DataFrame:
        """Return ``bad`` with each row as the source had it, as JSON, and its line in the source."""
        found = []
        for chunk in self._chunks():
            first = chunk.facts["first_line"]
            here = bad.filter(pl.col("line").is_between(first, first + chunk.facts["rows"], closed="left"))
            if here.height:
                raw = chunk.raw()[(here["line"] - first).cast(pl.UInt32)]
                found.append(here.with_columns(lines_of(raw, here["line"]), row=raw_rows(raw)))
        return pl.concat(found) if found else bad.clear().with_columns(row=pl.lit(None, pl.String))

    def _files(self, what: str) -> list[Path]:
        return [chunk.file(what) for chunk in self._chunks()]

    def _told(self) -> list[dict[str, Any]]:
        return [chunk.facts for chunk in self._chunks()]

    def _chunks(self) -> list[_Chunk]:
        return [_Chunk(path, json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]


@dataclass(frozen=True)
class _Chunk:
    """A chunk's files, and what is known of it."""

    marker: Path
    facts: dict[str, Any]

    @property
    def files(self) -> str:
        """What its files are called; those of another version of segadmin as the chunk itself."""
        return str(self.facts.get("files", self.marker.stem))

    def file(self, what: str) -> Path:
        """Return the path of one of :data:`_FILES`."""
        return self.marker.with_name(f"{self.files}.{what}")

    def raw(self) -> pl.DataFrame:
        """Return the rows as they came."""
        return pl.scan_ipc(self.file(_RAW), glob=False).collect()

    def put_facts(self, **more: Any) -> None:
        """Make the chunk whole, or another one."""
        draft = self.marker.with_suffix(".draft")
        draft.write_text(json.dumps(self.facts | more))
        put(draft, self.marker)


def _write_raw(raw: pl.DataFrame, chunk: _Chunk) -> None:
    # In the newest layout rows share buffers, which hold the texts of rows that were filtered out too.
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


def _write_without(chunk: _Chunk, raw: pl.DataFrame, gone: pl.Series) -> None:
    """Write a chunk anew without the rows at some places; those behind them move up."""
    first, places = chunk.facts["first_line"], pl.int_range(raw.height, eager=True)
    kept = ~places.is_in(gone.implode())
    left = int(kept.sum())
    lines = pl.LazyFrame({"line": places.filter(kept) + first, "moved": pl.int_range(left, eager=True) + first})
    name, _, number = chunk.files.partition("-")
    anew = _Chunk(chunk.marker, chunk.facts | {"files": f"{name}-{int(number or 0) + 1}", "rows": left})
    _write_raw(raw.filter(kept), anew)
    events = 0
    for what in (_GOOD, _BAD):
        cleaned = pl.scan_parquet(chunk.file(what), glob=False)
        columns = cleaned.collect_schema().names()
        moved = cleaned.join(lines, on="line", how="inner", maintain_order="left").with_columns(line="moved")
        frame = moved.select(columns).collect()
        _write(frame, anew.file(what))
        events += frame.height
        if what == _GOOD and chunk.file(_USERS).exists():
            known = pl.scan_parquet(chunk.file(_USERS), glob=False)
            _write(known.join(frame.lazy(), on="user_key", how="semi").collect(), anew.file(_USERS))
    anew.put_facts(events=events + chunk.facts.get("ignored", 0))
    for what in _FILES:
        chunk.file(what).unlink(missing_ok=True)


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="lz4", row_group_size=_GROUP_ROWS)
    sync(path)
