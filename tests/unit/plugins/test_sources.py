"""Reading files: what a chunk is, and what damaged files say."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW, Source
from segadmin.errors import DataError
from segadmin_plugins.sources.csv import Csv
from segadmin_plugins.sources.jsonl import JsonLines
from segadmin_plugins.sources.parquet import Parquet

HEADER = b"user,item\n"
ROW = b"u1,a\n"


def read(source: Source, path: Path, rows: int = 1000) -> list[pl.DataFrame]:
    return list(source.chunks(str(path), rows))


@pytest.mark.parametrize("name", ["e.csv", "e.parquet", "e.jsonl"])
def test_chunks_are_the_same_at_every_run(tmp_path: Path, name: str) -> None:
    """An interrupted import counts on it: a chunk is known by its number."""
    frame = pl.DataFrame({"user": [f"u{n}" for n in range(2500)], "text": ["x" * (n % 200) for n in range(2500)]})
    path = tmp_path / name
    source = {"e.csv": Csv, "e.parquet": Parquet, "e.jsonl": JsonLines}[name]()
    write = {"e.csv": frame.write_csv, "e.parquet": frame.write_parquet, "e.jsonl": frame.write_ndjson}[name]
    write(path)
    for _ in range(3):
        chunks = read(source, path)
        assert [chunk.height for chunk in chunks] == [1000, 1000, 500]
        assert pl.concat(chunks)["user"].to_list() == frame["user"].to_list()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.csv", b"\xef\xbb\xbf" + HEADER + ROW),
        ("e.csv", (HEADER + ROW).replace(b"\n", b"\r\n")),
        ("E.TSV", (HEADER + ROW).replace(b",", b"\t")),
        ("e.tsv.csv.gz", gzip.compress((HEADER + ROW).replace(b",", b"\t"), mtime=0)),
        ("e.csv", b'user,item\n"u1","a"\n'),
        ("e.csv", b"user , item\nu1,a\n"),
    ],
)
def test_forms_of_csv(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    [chunk] = read(Csv(), tmp_path / name)
    assert chunk.to_dicts() == [{"user": "u1", "item": "a", LINE: 2}]


def test_a_break_in_quotes_stays_in_its_cell(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes(HEADER + b'u1,"a\nb"\nu2,c\n')
    assert pl.concat(read(Csv(), tmp_path / "e.csv"))["item"].to_list() == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("source", "name", "content", "words"),
    [
        (Csv(), "e.csv", (HEADER + ROW).decode().encode("utf-16-be"), "looks like UTF-16.*encoding=utf-16-be"),
        (
            Csv(),
            "e.csv.gz",
            gzip.compress("用户\n".encode("gb18030") + ROW, mtime=0),
            "header is not utf-8.*encoding=gb18030",
        ),
        (Csv(), "e.csv.gz", gzip.compress(HEADER + ROW * 1000, mtime=0)[:-20], "cannot be read as CSV"),
        (Parquet(), "e.parquet", b"", "cannot be read as Parquet"),
    ],
)
def test_damage_is_named(tmp_path: Path, source: Source, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as raised:
        read(source, path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("source", "content", "problems", "rows"),
    [
        (Csv(), HEADER + ROW * 20_000 + "u1,苹果\n".encode("gb18030") + ROW, ["bad_encoding"], 20_001),
        (Csv(), HEADER + ROW + b"u2,a,b\n" + ROW, ["ragged_row"], 2),
        (Csv(), HEADER + ROW + b'u2,"a\n' + ROW, ["unclosed_quote"], 2),
        (Csv(encoding="gb18030"), HEADER + "张伟,苹果\n".encode("gb18030") + b"\xff\xff,a\n", ["bad_encoding"], 1),
        (JsonLines(), b'{"user": "u1"}\n\n{"user": ' + b"1" * 5000 + b"}\n", [], 2),
        (JsonLines(), b'{"user": "u1"}\n' + b"[" * 100_000, ["not_json"], 1),
        (JsonLines(), b'{"user": "u1"}\n["u1"]\n{"user": "\xff"}\n', ["not_json", "bad_encoding"], 1),
    ],
)
def test_rows_that_cannot_be_read_say_why(
    tmp_path: Path, source: Source, content: bytes, problems: list[str], rows: int
) -> None:
    (tmp_path / "e").write_bytes(content)
    frame = pl.concat(read(source, tmp_path / "e"), how="diagonal")
    problem = frame[UNREADABLE] if UNREADABLE in frame.columns else pl.Series([None] * frame.height)
    assert problem.drop_nulls().to_list() == problems
    assert problem.null_count() == rows
    if problems:
        assert frame.filter(problem.is_not_null())[UNREADABLE_ROW].str.len_chars().min() > 2


def test_another_separator_is_seen_in_the_header(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes((HEADER + ROW).replace(b",", b";"))
    [chunk] = read(Csv(), tmp_path / "e.csv")
    assert chunk.to_dicts() == [{"user": "u1", "item": "a", LINE: 2}]


def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user": [str(n) for n in range(1000)]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"e\.parquet cannot be read as Parquet"):
        read(Parquet(), path)


def test_the_grocery_year_says_where_coupons_were_redeemed() -> None:
    from segadmin_plugins.sources.completejourney import folder, transactions

    lines = transactions().collect()
    plain = pl.read_parquet(folder() / "transactions.parquet")
    assert lines.drop("redeemed").equals(plain)
    assert lines["redeemed"].sum() == 2099, "of 2,102: three are of a day without a basket"
    assert lines.filter(pl.col("redeemed") > 0).height == 1105
