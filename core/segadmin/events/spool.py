"""The spool: an import on its way, chunk by chunk, on disk; the lake knows nothing of it yet.

A chunk is some files, of which the last to get its name, ``.json``, says that the others are there: so an import
that was killed goes on behind the last whole chunk.
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
        stem = self.folder / f"{self.chunks + 1:06}"
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            raw.write_ipc(stem.with_suffix(".raw.arrow"), compression="lz4")
            sync(stem.with_suffix(".raw.arrow"))
            _write_cleaned(stem, cleaned, {"rows": raw.height, "first_line": first_line})

    def read_again(self, place: int, clean: Callable[[pl.DataFrame, int], Cleaned]) -> None:
        """Replace what a chunk was read as. If that is interrupted, its facts still say that it is to be read again.

        Args:
            place: which chunk, from 0.
            clean: reads its rows, given as they came, and their first line.

        Raises:
            StorageError: the disk is full or fails.
        """
        facts = list(self._told())[place]
        stem = self._files("raw.arrow")[place].with_suffix("").with_suffix("")
        cleaned = clean(pl.scan_ipc(stem.with_suffix(".raw.arrow"), glob=False).collect(), facts["first_line"])
        with self._writing():
            _write_cleaned(stem, cleaned, {name: facts[name] for name in ("rows", "first_line")})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.ComputeError) as error:
            told = f"{self.folder} cannot be written: {error}. Check the disk and SEGADMIN_STORE."
            raise StorageError(told) from None

    def good(self) -> pl.LazyFrame:
        """Return the rows that can be used; those of one bucket in the order that they came in."""
        return pl.scan_parquet(self._files("good.parquet"), glob=False)

    def users(self) -> pl.LazyFrame:
        """Return bucket, user_key and user of every user of each chunk."""
        return pl.scan_parquet(self._files("users.parquet"), glob=False)

    def bad(self) -> pl.DataFrame:
        """Return what tells the rows that cannot be used: the columns of ``PROBLEM``."""
        return pl.concat(
            [pl.DataFrame(schema=PROBLEM), *(pl.read_parquet(path, glob=False) for path in self._files("bad.parquet"))]
        )

    def as_they_came(self, bad: pl.DataFrame) -> pl.DataFrame:
        """Return ``bad`` with each row as the source had it, as JSON, and its line in the source."""
        found = []
        for path, told in zip(self._files("raw.arrow"), self._told(), strict=True):
            first = told["first_line"]
            here = bad.filter(pl.col("line").is_between(first, first + told["rows"], closed="left"))
            if here.height:
                raw = pl.scan_ipc(path, glob=False).collect()[(here["line"] - first).cast(pl.UInt32)]
                found.append(here.with_columns(lines_of(raw, here["line"]), row=raw_rows(raw)))
        return pl.concat(found) if found else bad.clear().with_columns(row=pl.lit(None, pl.String))

    def _files(self, what: str) -> list[Path]:
        return [path.with_suffix(f".{what}") for path in sorted(self.folder.glob("*.json"))]

    def _told(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.json")):
            yield json.loads(path.read_text())


def _write_cleaned(stem: Path, cleaned: Cleaned, facts: dict[str, Any]) -> None:
    good = cleaned.good
    if "bucket" in good.columns:
        good = good.sort("bucket", maintain_order=True)
        users = good.select("bucket", "user_key", "user").unique("user_key", keep="first", maintain_order=True)
        _write(users, stem.with_suffix(".users.parquet"))
        good = good.drop("user")
    _write(good, stem.with_suffix(".good.parquet"))
    _write(cleaned.bad, stem.with_suffix(".bad.parquet"))
    facts = facts | {
        "events": cleaned.read,
        "changes": dict(cleaned.changes),
        "numbers": cleaned.numbers,
        "ignored": cleaned.ignored,
        "statuses": dict(cleaned.statuses),
    }
    draft = stem.with_suffix(".draft")
    draft.write_text(json.dumps(facts))
    put(draft, stem.with_suffix(".json"))


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="lz4", row_group_size=_GROUP_ROWS)
    sync(path)
