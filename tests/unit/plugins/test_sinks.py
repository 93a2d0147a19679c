"""Writing files: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from segadmin.contracts.source import Sink
from segadmin.errors import StorageError
from segadmin_plugins.sinks.csv import Csv
from segadmin_plugins.sinks.jsonl import JsonLines
from segadmin_plugins.sinks.parquet import Parquet

FRAME = pl.LazyFrame({"user": ["张伟", "李娜"], "probability": [0.5, 0.25]})
KINDS = {
    "a.csv": (Csv(), pl.read_csv),
    "a.jsonl": (JsonLines(), pl.read_ndjson),
    "a.parquet": (Parquet(), pl.read_parquet),
}
SINKS = pytest.mark.parametrize(("sink", "name"), [(sink, name) for name, (sink, _) in KINDS.items()])


@SINKS
def test_what_is_written_reads_back(tmp_path: Path, sink: Sink, name: str) -> None:
    path = tmp_path / name
    path.write_text("what was there before")
    assert sink.write(FRAME, path) == 2
    assert KINDS[name][1](path).equals(FRAME.collect())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_csv_begins_with_a_byte_order_mark_unless_disabled(tmp_path: Path) -> None:
    Csv().write(FRAME, tmp_path / "a.csv")
    Csv(byte_order_mark=False).write(FRAME, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes().startswith("\ufeffuser".encode())
    assert (tmp_path / "b.csv").read_bytes().startswith(b"user")


@SINKS
def test_a_folder_that_is_not_there(tmp_path: Path, sink: Sink, name: str) -> None:
    with pytest.raises(StorageError, match=rf"nowhere/{name} cannot be written: .*Check the folder"):
        sink.write(FRAME, tmp_path / "nowhere" / name)
    assert list(tmp_path.iterdir()) == []


@SINKS
def test_a_failed_write_leaves_no_draft(tmp_path: Path, sink: Sink, name: str) -> None:
    """The file's place is taken by a folder: only the last step, the renaming, fails."""
    (tmp_path / name).mkdir()
    with pytest.raises(StorageError, match=rf"{name} cannot be written: Is a directory"):
        sink.write(FRAME, tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_what_csv_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(StorageError, match=r"a\.csv cannot be written: .* Choose another kind of file"):
        Csv().write(pl.LazyFrame({"phrases": [["a", "b"]]}), path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


def test_a_query_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(pl.exceptions.PolarsError):
        Parquet().write(FRAME.select(pl.col("user").cast(pl.Int64)), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
