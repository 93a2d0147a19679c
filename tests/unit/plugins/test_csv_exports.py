"""CSV as exports have it that people reported to other projects; each test names the report."""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW
from segadmin.errors import ConfigurationError, DataError
from segadmin_plugins.sources.csv import Csv


def read(content: str | bytes, folder: Path, block_bytes: int = 1 << 20, **options: object) -> pl.DataFrame:
    (folder / "e.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    source = type("Blocks", (Csv,), {"block_bytes": block_bytes})(**options)
    return pl.concat(source.chunks(str(folder / "e.csv"), 1000), how="diagonal")


def problems(frame: pl.DataFrame) -> dict[int, str]:
    """Return the lines that could not be read, and why."""
    if UNREADABLE not in frame.columns:
        return {}
    bad = frame.filter(pl.col(UNREADABLE).is_not_null())
    return dict(zip(bad[LINE].to_list(), bad[UNREADABLE].to_list(), strict=True))


@pytest.mark.parametrize("block_bytes", [24, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("user", ["u2", '"u2"'])
def test_files_put_together_have_marks_in_the_middle(
    tmp_path: Path, block_bytes: int, encoding: str, user: str
) -> None:
    """simonmichael/hledger 2189: ``cat *.csv`` of files that each begin with a byte order mark."""
    content = "user,item\nu1,a\n".encode(encoding) + f"{user},b\n".encode(encoding)
    frame = read(content, tmp_path, block_bytes)
    assert frame.select("user", "item").rows() == [("u1", "a"), ("u2", "b")]


@pytest.mark.parametrize("block_bytes", [24, 1 << 20])
def test_a_header_that_comes_again_is_no_row(tmp_path: Path, block_bytes: int) -> None:
    """wpninjas/ninja-forms 2404: an export that writes its header before every ten rows."""
    content = "user, item,text\nu1,a,x\nuser, item,text\nu2,b,y\nuser,c,z\n"
    frame = read(content, tmp_path, block_bytes)
    assert frame["user"].to_list() == ["u1", None, "u2", "user"]
    assert problems(frame) == {3: "repeated_header"}


def test_headers_that_say_the_same_twice_are_known_again(tmp_path: Path) -> None:
    frame = read("user,price,price\nu1,1,2\nuser,price,price\n", tmp_path)
    assert frame.columns[:3] == ["user", "price", "price_duplicated_0"]
    assert problems(frame) == {3: "repeated_header"}


def test_a_file_of_one_column_has_no_header_again(tmp_path: Path) -> None:
    assert read("item\na\nitem\n", tmp_path)["item"].to_list() == ["a", "item"]


def test_names_like_those_made_for_a_second_column(tmp_path: Path) -> None:
    """pola-rs/polars 28310: ``a,a_duplicated_0,a`` ended in an error about the schema."""
    frame = read("a,a_duplicated_0,a\n1,2,3\n", tmp_path)
    assert frame.drop(LINE).to_dicts() == [{"a": "1", "a_duplicated_0": "2", "a_duplicated_1": "3"}]


@pytest.mark.parametrize("block_bytes", [80, 1 << 20])
def test_quotes_behind_backslashes(tmp_path: Path, block_bytes: int) -> None:
    r"""ClickHouse/ClickHouse 2357, C2FO/fast-csv 112: MySQL writes ``\"`` in cells, and ``\N`` for NULL."""
    content = (
        'user,kind,text\n"u1","review","Foo \\"Bar\\" baz"\n"u2","review","He said \\"no, never\\" to me"\n'
        '"u3",\\N,"path C:\\\\x"\n"u4","review","two\\\nlines"\nu5,\\N,\\N\n'
    )
    frame = read(content, tmp_path, block_bytes)
    texts = ['Foo "Bar" baz', 'He said "no, never" to me', "path C:\\x", "two\nlines", ""]
    assert frame["text"].fill_null("").to_list() == texts
    assert frame["kind"].fill_null("").to_list() == ["review", "review", "", "review", ""]
    assert frame[LINE].to_list() == [2, 3, 4, 5, 7]


def test_backslashes_are_what_they_are_where_quotes_are_doubled(tmp_path: Path) -> None:
    content = 'user,text\nu1,"C:\\"\nu2,"say ""a\\"""\nu3,a\\b\n'
    assert read(content, tmp_path)["text"].to_list() == ["C:\\", 'say "a\\"', "a\\b"]
    assert read(content, tmp_path, escape="none")["text"].to_list() == ["C:\\", 'say "a\\"', "a\\b"]


def test_a_quote_behind_a_backslash_that_comes_late_is_named(tmp_path: Path) -> None:
    rows = "".join(f'u{n},"fine"\n' for n in range(1, 20))
    content = f'user,text\n{rows}u20,"Foo \\"Bar\\" baz"\nu21,"fine"\n'
    frame = read(content, tmp_path, block_bytes=50)
    assert problems(frame) == {21: "escaped_quote"}
    assert frame["user"].drop_nulls().len() == 20
    frame = read(content, tmp_path, block_bytes=50, escape="\\")
    assert frame["text"][19] == 'Foo "Bar" baz'


def test_cells_in_apostrophes(tmp_path: Path) -> None:
    """hasura/graphql-engine 6839, mapnik/mapnik 3301: values such as ``'C1'``, in exports and in public datasets."""
    content = "step,user,item,amount\n0,'C1','a, b',4.55\n0,'C2','it''s \"x\"',39.68\n0,'C3,4\n"
    frame = read(content, tmp_path)
    assert frame["user"].to_list() == ["C1", "C2", None]
    assert frame["item"].to_list() == ["a, b", 'it\'s "x"', None]
    assert problems(frame) == {4: "unclosed_quote"}
    assert frame[UNREADABLE_ROW][2] == "0,'C3,4"


def test_one_column_of_apostrophes_is_text(tmp_path: Path) -> None:
    content = "user,text\nu1,'fine'\nu2,'good'\n"
    assert read(content, tmp_path)["text"].to_list() == ["'fine'", "'good'"]
    assert read(content, tmp_path, quote="'")["text"].to_list() == ["fine", "good"]


def test_no_sign_quotes_cells(tmp_path: Path) -> None:
    """Public review datasets are tab-separated, with quotes that mean nothing."""
    content = 'user\ttext\nu1\t"Great\nu2\t5" pipe, "x"\nu3\tok\n'
    assert problems(read(content, tmp_path)) == {2: "unclosed_quote"}
    assert read(content, tmp_path, quote="none")["text"].to_list() == ['"Great', '5" pipe, "x"', "ok"]


@pytest.mark.parametrize("option", ["quote", "escape"])
def test_signs_of_several_characters_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"The {option} sign must be one character, or none; it is 'ab'"):
        read('user,text\nu1,"a"\n', tmp_path, **{option: "ab"})


@pytest.mark.parametrize(
    ("titles", "line"),
    [
        ("Includes Amazon Marketplace transactions\n\nAll amounts in USD\n", 4),
        ("---微信支付账单明细列表---,,,\n", 2),
        ('Report,2024-03-01,,\n"two\nlines",,,\n', 4),
        ("\n\nSales report\n", 4),
    ],
)
def test_titles_above_the_header(tmp_path: Path, titles: str, line: int) -> None:
    """mayswind/ezbookkeeping 123, actualbudget/actual 2950, buckets/application 300: lines above the header."""
    content = (
        f"{titles}user,item,at,text\nu1,a,2024-03-01,x\n\nu2,b,2024-03-01,y\nu3,c,2024-03-01,\nu4,d,2024-03-01,z\n"
    )
    with pytest.raises(DataError, match=rf"looks like a title.*If the header is on line {line}: -o skip={line - 1}"):
        read(content, tmp_path)
    frame = read(content, tmp_path, skip=line - 1)
    assert frame["user"].to_list() == ["u1", "u2", "u3", "u4"]
    assert frame[LINE].to_list() == [line + 1, line + 3, line + 4, line + 5]


def test_more_titles_than_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        read("user,item\nu1,a\n", tmp_path, skip=5)


@pytest.mark.parametrize("more", [",", ",,", ", "])
def test_separators_at_the_end_of_rows(tmp_path: Path, more: str) -> None:
    """pandas-dev/pandas 14124, apache/arrow 26743: rows end in a separator, the header does not."""
    frame = read(f"user,item\nu1,a{more}\nu2,b{more}\nu3,c\n", tmp_path)
    assert frame["user"].to_list() == ["u1", "u2", None]
    assert problems(frame) == {4: "ragged_row"}


def test_separators_at_the_end_of_the_header(tmp_path: Path) -> None:
    """fsprojects/FSharp.Data 688: the header ends in a separator, rows do not."""
    frame = read("user,item,,\nu1,a\nu2,b\nu3,c,x,y\n", tmp_path)
    assert frame["user"].to_list() == ["u1", "u2", None]
    assert problems(frame) == {4: "ragged_row"}


def test_cells_beyond_the_header_that_say_something_are_ragged(tmp_path: Path) -> None:
    frame = read("user,item\nu1,a,x\nu2,b,\nu3,c,\n", tmp_path)
    assert problems(frame) == {2: "ragged_row", 3: "ragged_row", 4: "ragged_row"}


def test_blank_lines_above_the_header_count(tmp_path: Path) -> None:
    frame = read("\r\n\r\nuser,item\r\nu1,a\r\nu2\r\n", tmp_path)
    assert frame[LINE].to_list() == [4, 5]


def test_invisible_characters_in_names_are_removed(tmp_path: Path) -> None:
    """opengovsg/postmangovsg 88: a column was not found, under a name that looked like its own."""
    assert read("\u200buser,item\u00a0,\u200eat\nu1,a,2024-03-01\n", tmp_path).columns[:3] == ["user", "item", "at"]


def test_rare_line_break_characters_do_not_end_rows(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\x0cd\x0be\x1cf"
    assert read(f'user,text\nu1,{text}\nu2,5" {text}\n', tmp_path)["text"].to_list() == [text, f'5" {text}']


def _zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("e.csv", content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (_zipped, "it is a zip archive, as Excel workbooks are too. Unpack it, or save the sheet as CSV."),
        (bz2.compress, "it is compressed with bzip2. Unpack it by bunzip2."),
        (lzma.compress, "it is compressed with xz. Unpack it by unxz."),
        (lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is an old Excel workbook. Save the sheet as CSV."),
    ],
)
def test_binary_files_are_named(tmp_path: Path, pack: Callable[[bytes], bytes], words: str) -> None:
    """isaacbrodsky/duckdb-zipfs 50, datopian/data-cli 261: the advice was to name an encoding."""
    with pytest.raises(DataError, match=re.escape(f"e.csv cannot be read as CSV: {words}")):
        read(pack(b"user,item\nu1,a\n"), tmp_path)
