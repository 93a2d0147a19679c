"""Reading CSV: what Python's ``csv`` reads is read, whatever is wrong with one line, and lines are counted right."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW
from segadmin.errors import ConfigurationError, DataError
from segadmin_plugins.sources.csv import Csv

COLUMNS = ["user", "kind", "item", "at", "text"]
_TEXT = st.text(
    st.sampled_from("ab,;\t|\"' \n0好é😀<\\") | st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]),
    max_size=12,
)
_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u22", "张伟"]),
        st.sampled_from(["view", "purchase"]),
        st.text(st.sampled_from("abc-012"), min_size=1, max_size=5),
        st.sampled_from(["2026-01-31", "2026-02-01"]),
        _TEXT,
    ),
    min_size=1,
    max_size=12,
)
_BAD_LINES = st.sampled_from(
    [
        b"u9,view",
        b"u9,view,a,2026-01-01,x,one cell too many",
        "u9,view,苹果,2026-01-01,x".encode("gb18030"),
        b"u9,view,a,2026-01-01,\xff",
        b'u9,view,a,2026-01-01,"never closed',
        b'u9,"view,a,2026-01-01,x',
        b"u9,view,a,2026-01-01,a\rb",
    ]
)


def in_blocks_of(size: int, **options: str) -> Csv:
    return type("Blocks", (Csv,), {"block_bytes": size})(**options)  # type: ignore[no-any-return]


def read(content: bytes, folder: Path, source: Csv | None = None, rows: int = 1000) -> pl.DataFrame:
    (folder / "e.csv").write_bytes(content)
    frames = list((source or Csv()).chunks(str(folder / "e.csv"), rows))
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def written(
    rows: list[tuple[str, ...]], separator: str = ",", end: str = "\n", quoting: int = csv.QUOTE_MINIMAL
) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    _ROWS,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([128, 1 << 20]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
)
def test_a_good_file_is_read_as_python_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    separator: str,
    end: str,
    quoting: int,
    block_bytes: int,
    encoding: str,
) -> None:
    text = written(rows, separator, end, quoting)
    source = in_blocks_of(block_bytes, separator=separator, encoding="gb18030" if encoding == "gb18030" else "")
    frame = read(text.encode(encoding), tmp_path_factory.mktemp("csv"), source)
    assert UNREADABLE not in frame.columns
    expected = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))[1:]
    cells = frame.select(pl.col(COLUMNS).fill_null(""))
    assert [list(row) for row in cells.iter_rows()] == expected
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    ends = [reader.line_num for _ in reader]
    assert frame[LINE].to_list() == [line + 1 for line in ends[:-1]]


@hypothesis_settings(max_examples=300, deadline=None)
@given(_ROWS, _BAD_LINES, st.integers(0, 12), st.sampled_from([128, 1 << 20]))
def test_one_bad_line_anywhere_keeps_all_others(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], bad: bytes, place: int, block_bytes: int
) -> None:
    rows = [(*row[:4], row[4].replace('"', "").replace("\n", " ")) for row in rows]
    lines = written(rows).encode().splitlines(keepends=True)
    place = 1 + place % len(lines)
    content = b"".join([*lines[:place], bad + b"\n", *lines[place:]])
    frame = read(content, tmp_path_factory.mktemp("csv"), in_blocks_of(block_bytes))
    good = frame.filter(pl.col(UNREADABLE).is_null())
    assert list(good.select(pl.col(COLUMNS).fill_null("")).iter_rows()) == rows
    [unreadable] = frame.filter(pl.col(UNREADABLE).is_not_null()).to_dicts()
    assert unreadable[LINE] == place + 1
    assert unreadable[UNREADABLE_ROW].startswith("u9,")


def test_a_line_with_a_cell_too_many_after_a_hundred_good_ones(tmp_path: Path) -> None:
    good = "".join(f"u{n},view,a,2024-03-01,x\n" for n in range(100))
    frame = read(f"{','.join(COLUMNS)}\n{good}u,view,a,2024-03-01,x,one too many\n".encode(), tmp_path)
    assert frame[UNREADABLE].drop_nulls().to_list() == ["ragged_row"]
    assert frame[UNREADABLE].null_count() == 100
    assert frame[LINE].to_list() == list(range(2, 103))


def test_a_quote_that_is_never_closed_swallows_no_other_row(tmp_path: Path) -> None:
    content = (
        b"user,kind,item,at,text\n"
        b'u1,review,a,2024-03-01,"never closed\n'
        b"u2,review,b,2024-03-02,ok\n"
        b"u3,review,c,2024-03-03,ok\n"
    )
    frame = read(content, tmp_path)
    assert frame["user"].to_list() == [None, "u2", "u3"]
    assert frame[UNREADABLE].to_list() == ["unclosed_quote", None, None]
    assert frame[LINE].to_list() == [2, 3, 4]


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_quote_that_is_never_closed_hides_none_of_many_rows(tmp_path: Path, end: str) -> None:
    rows = [f"u{n},review,a,2024-03-01,ok" for n in range(10_000)]
    for number in (3, 4_321, 9_999):
        rows[number] = f'u{number},review,a,2024-03-01,"never closed'
    rows[5_000] = 'u5000,review,a,2024-03-01,"a text\nof two lines, ""quoted"""'
    frame = read(f"{','.join(COLUMNS)}\n{chr(10).join(rows)}{end}".encode(), tmp_path)
    assert frame[LINE].to_list() == [n + 2 + (n > 5_000) for n in range(10_000)]
    unreadable = frame.filter(pl.col(UNREADABLE).is_not_null())
    assert unreadable[LINE].to_list() == [5, 4_323, 10_002]
    assert frame["text"][5_000] == 'a text\nof two lines, "quoted"'


@pytest.mark.parametrize("closing", ['"closed later"', '42"', '"a","b"'])
def test_a_quote_that_another_row_closes_swallows_no_row_between(tmp_path: Path, closing: str) -> None:
    rows = [f"u{n},review,a,2024-03-{n:02},ok\n" for n in range(1, 10)]
    rows[2] = 'u3,review,a,2024-03-03,"never closed\n'
    rows[6] = f"u7,review,a,2024-03-07,{closing}\n"
    frame = read(f"{','.join(COLUMNS)}\n{''.join(rows)}".encode(), tmp_path)
    assert [user for user in frame["user"].to_list() if user] == [
        f"u{n}" for n in range(1, 10) if n != 3 and not (n == 7 and closing.count('"') == 4)
    ]
    assert "unclosed_quote" in frame[UNREADABLE].to_list()


def test_text_of_several_lines_with_commas_is_no_unclosed_quote(tmp_path: Path) -> None:
    text = "Great, but, it, is heavy\nSo, so, la, la\nend, a, b, c"
    rows = [(f"u{n}", "review", "a", "2024-03-01", text) for n in range(20)]
    frame = read(written(rows).encode(), tmp_path)  # type: ignore[arg-type]
    assert frame["text"].to_list() == [text] * 20
    assert frame[LINE].to_list() == list(range(2, 62, 3))


def test_quotes_inside_cells_are_kept(tmp_path: Path) -> None:
    frame = read(b'user,text\nu1,5" pipe\nu2,"a ""b"" c"\nu3,say "hi"\n', tmp_path)
    assert frame["text"].to_list() == ['5" pipe', 'a "b" c', 'say "hi"']


def test_blank_lines_are_no_rows_and_are_counted(tmp_path: Path) -> None:
    frame = read(b"user,item\n\nu1,a\n\r\n\nu2\nu3,b\n", tmp_path)
    assert frame[LINE].to_list() == [3, 6, 7]
    assert frame[UNREADABLE].to_list() == [None, "ragged_row", None]


def test_a_cell_of_thousands_of_lines_is_named(tmp_path: Path) -> None:
    content = b'user,text\nu1,"' + b"a\n" * 1500 + b'"\nu2,b\n'
    frame = read(content, tmp_path)
    assert frame.filter(pl.col(UNREADABLE) == "unclosed_quote")[LINE].to_list()[0] == 2
    assert frame["user"].drop_nulls().to_list() == ["u2"]


def test_a_file_without_header_is_reported_and_read_with_its_names(tmp_path: Path) -> None:
    content = b"1,2268318,2520377,pv,1511544070\n2,2333346,2520771,pv,1511561733\n"
    with pytest.raises(DataError, match=r"looks like data, not like a header.*5 columns, as in -o header=user,item"):
        read(content, tmp_path)
    frame = read(content, tmp_path, Csv(header="user,item,category,kind,at"))
    assert frame["user"].to_list() == ["1", "2"]
    assert frame[LINE].to_list() == [1, 2]
    assert read(content, tmp_path, Csv(header="first")).height == 1


def test_a_line_for_a_spreadsheet_names_the_separator(tmp_path: Path) -> None:
    frame = read("\ufeffsep=;\r\nuser;item\r\nu1;a,b\r\n".encode(), tmp_path)
    assert frame.to_dicts() == [{"user": "u1", "item": "a,b", LINE: 3}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("e") else ""
    frame = read(f"{mark}用户\t商品\r\n张伟\t苹果\r\n".encode(encoding), tmp_path)
    assert frame.drop(LINE).to_dicts() == [{"用户": "张伟", "商品": "苹果"}]


def test_utf16_without_a_mark_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"-o encoding=utf-16-le"):
        read("user,item\nu1,a\n".encode("utf-16-le"), tmp_path)
    assert read("user,item\nu1,a\n".encode("utf-16-le"), tmp_path, Csv(encoding="utf-16-le")).height == 1


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no encoding 'gb-18031'"):
        read(b"user\nu1\n", tmp_path, Csv(encoding="gb-18031"))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compressed_files_are_known_by_their_content(tmp_path: Path, pack: object) -> None:
    content = pack(b"user,item\nu1,a\nu2,b,c\n")  # type: ignore[operator]
    assert read(content, tmp_path)[UNREADABLE].to_list() == [None, "ragged_row"]
    for size in (len(content) // 2, len(content) - 3):
        with pytest.raises(DataError, match="cannot be read as CSV"):
            read(content[:size], tmp_path)


def test_the_separator_is_what_gives_most_lines_as_many_cells(tmp_path: Path) -> None:
    frame = read(b"Order, Nr;Date;Price\n1;2;12,50\n2;3;1,00\n", tmp_path, Csv(header="first"))
    assert frame.columns[:3] == ["Order, Nr", "Date", "Price"]


def test_an_old_macs_line_ends_are_read(tmp_path: Path) -> None:
    assert read(b"user,item\ru1,a\ru2,b\r", tmp_path)["user"].to_list() == ["u1", "u2"]


@pytest.mark.parametrize("line", [2, 8, 60])
def test_an_unclosed_quote_near_the_top_hides_neither_separator_nor_header(tmp_path: Path, line: int) -> None:
    lines = ["Bestellnr;Kunde;Datum;Artikel;Menge;Gesamt"]
    lines += [f'{n};K-{n:02};31.01.2026 14:05;Kaffee "Crema";2;9,50' for n in range(100)]
    lines[line - 1] = f'{line};K-99;31.01.2026 14:05;"Tee;1;4,50'
    frame = read("\n".join(lines).encode(), tmp_path)
    assert frame.columns[:3] == ["Bestellnr", "Kunde", "Datum"]
    assert frame.filter(pl.col(UNREADABLE).is_not_null())[LINE].to_list() == [line]
    assert frame["Gesamt"].drop_nulls().len() == 99


@pytest.mark.parametrize("name", ["segadmin:problem", " segadmin:row", "segadmin:new"])
def test_a_column_with_a_reserved_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"has a column '{name.strip()}', a name that is reserved for segadmin"):
        read(f"user,kind,{name}\nu1,view,x\n".encode(), tmp_path)
