"""Reading JSON: its forms, exact numbers, broken records, and what a client must not say."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.contracts.source import ESCAPED, LINE, OTHER, OWN, UNREADABLE, UNREADABLE_ROW
from segadmin.errors import ConfigurationError, DataError
from segadmin_plugins.sources import json_records, json_text, jsonl
from segadmin_plugins.sources.json_records import records_of_document
from segadmin_plugins.sources.json_text import JsonText
from segadmin_plugins.sources.jsonl import JsonLines, frame_of, posted_records

TWO = [("u1", 1), ("u2", 2)]


def read(path: Path, content: str | bytes, **options: str) -> pl.DataFrame:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return pl.concat(JsonLines(**options).chunks(str(path), 1000))


def users(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.select("user", LINE).rows()


def problems(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.filter(pl.col(UNREADABLE).is_not_null()).select(LINE, UNREADABLE, UNREADABLE_ROW).rows()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"user": "u1"}\n{"user": "u2"}\n', TWO),
        ('\ufeff{"user": "u1"}\r\n{"user": "u2"}', TWO),
        ('\n\n{"user": "u1"}\n\n{"user": "u2"}\n', [("u1", 3), ("u2", 5)]),
        ('[{"user": "u1"},\n{"user": "u2"}]', TWO),
        ('[\n  {\n    "user": "u1"\n  },\n  {\n    "user": "u2"\n  }\n]\n', [("u1", 2), ("u2", 5)]),
        ('[{"user": "u1"}]\n[{"user": "u2"}]\n', TWO),
        ('{"user": "u1"}{"user": "u2"}', TWO),
        ('[{"user": "u1"}, {"user": "u2"}]', TWO),
        ('{\n"user": "u1"\n}\n{\n"user": "u2"\n}\n', [("u1", 1), ("u2", 4)]),
        ('{"user": "u1"},\n{"user": "u2"},\n', TWO),
        ('\x1e{"user": "u1"}\n\x1e{"user": "u2"}\n', TWO),
        ('{"events": [{"user": "u1"},\n{"user": "u2"}]}', TWO),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_forms_of_json(tmp_path: Path, content: str, expected: object, pack: type[bytes], encoding: str) -> None:
    """Compression is known by the first bytes: a file may have lost its suffix."""
    assert users(read(tmp_path / "e.json", pack(content.removeprefix("\ufeff").encode(encoding)))) == expected
    assert users(read(tmp_path / "e.json", pack(content.encode()))) == expected


@pytest.mark.parametrize(
    "name", ["e.json", "e.jsonl", "e.ndjson", "e.json.gz", "e.jsonl.gz", "E.NDJSON.GZ", "e.jsonl.zst", "e.json.zst"]
)
def test_names_of_json(name: str) -> None:
    assert JsonLines.takes(name)


def test_a_list_in_an_object(tmp_path: Path) -> None:
    content = (
        '{"count": 12345, "other": [{"user": "x"}], "data": {"n": 2, "events": [{"user": "u1"},\n{"user": "u2"}]}}\n'
    )
    assert users(read(tmp_path / "e.json", content, records="data.events")) == TWO
    assert users(read(tmp_path / "e.json", '{"a.b": [{"user": "u1"},\n{"user": "u2"}], "z": 1}', records="a.b")) == TWO
    with pytest.raises(DataError, match=r"no list 'data' in the object in line 1; its keys are: count, other, data\."):
        read(tmp_path / "e.json", content, records="data")
    batches = '{"events": [{"user": "u1"}]}\n{"events": [{"user": "u2"}]}\n'
    assert users(read(tmp_path / "e.json", batches, records="events")) == TWO


def test_one_object_with_a_list_is_one_row(tmp_path: Path) -> None:
    """Else a day with one order would be read in another way than a day with two."""
    frame = read(tmp_path / "e.json", '{"user": "u1", "items": [{"sku": 1.50}]}\n')
    assert frame.rows() == [("u1", '[{"sku": 1.50}]', 1)]


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    line = '{"a": 12.50, "b": 12345678901234567890, "c": 1e400, "d": -0.0, "e": [1.10, {"f": 1E5}], "g": true}\n'
    [row] = read(tmp_path / "e.json", line).drop(LINE).rows()
    assert row == ("12.50", "12345678901234567890", "1e400", "-0.0", '[1.10, {"f": 1E5}]', "true")


def test_what_is_no_number_is_missing(tmp_path: Path) -> None:
    [row] = read(tmp_path / "e.json", '{"a": NaN, "b": -Infinity, "c": [NaN, Infinity], "d": null}\n').rows()
    assert row == (None, "-Infinity", '[null, "Infinity"]', None, 1)


def test_the_last_of_two_equal_keys_counts(tmp_path: Path) -> None:
    assert users(read(tmp_path / "e.json", '{"user": "u0", "user": "u1"}\n')) == [("u1", 1)]


def test_a_lone_surrogate_stays_an_escape(tmp_path: Path) -> None:
    assert users(read(tmp_path / "e.json", '{"user": "u\\ud83d"}\n')) == [("u\\ud83d", 1)]


@pytest.mark.parametrize(
    ("content", "reason", "line", "text"),
    [
        ('{"user": "u1"}\n{"user": \n{"user": "u3"}\n', "not_json", 2, '{"user":'),
        ('{"user": \n{"user": "u1"}\n{"user": "u3"}\n', "not_json", 1, '{"user":'),
        ('{"user": "u1"}\n\n["u2"]\n{"user": "u3"}\n', "not_json", 3, '["u2"]'),
        ('[{"user": "u1"},\n{"user": tru},\n{"user": "u3"}]', "not_json", 2, '{"user": tru}'),
        ('[{"user": "u1"}, {"user": tru}, {"user": "u3"}]', "not_json", 2, '{"user": tru}'),
        ('[\n{"user": "u1"},\n{"user": "u2},\n{"user": "u3"}\n]', "not_json", 3, '{"user": "u2}'),
        ('[\n{"user": "u1"},\n{"user": "u2",\n{"user": "u3"}\n]', "not_json", 3, '{"user": "u2"'),
        ('[{"user": "u1"}, "a, b", {"user": "u3"}]', "not_json", 2, '"a, b"'),
        ('[{"user": "u1"}, [{"user": "u2"}], {"user": "u3"}]', "not_json", 2, '[{"user": "u2"}]'),
        ('[\n{"user": "u1"},\n{"user": "u3"}}\n]', "not_json", 3, "}"),
        ('{\n "user": "u1"\n}\n{\n "user": "u2\n}\n{\n "user": "u3"\n}', "not_json", 4, '{\n "user": "u2\n}'),
        (b'[{"user": "u1"}, {"user": "\xff"}, {"user": "u3"}]', "bad_encoding", 2, '{"user": "\\xff"}'),
        (b'{"user": "u1"}\n{"user": "\xff"}\n{"user": "u3"}\n', "bad_encoding", 2, '{"user": "\\xff"}'),
        ('{"user": "u1"}\n{"user": ' + "[" * 9000 + '\n{"user": "u3"}\n', "not_json", 2, '{"user": ' + "[" * 9000),
        ('[{"user": "u1"},\n{"user": "u3"},\n', "cut_short", 3, "(the list has no end)"),
        ('[{"user": "u1"},\n{"user": "u3"},\n{"us', "not_json", 3, '{"us'),
    ],
)
def test_one_broken_record_costs_no_other(
    tmp_path: Path, content: str | bytes, reason: str, line: int, text: str
) -> None:
    frame = read(tmp_path / "e.json", content)
    assert frame["user"].drop_nulls().to_list() == ["u1", "u3"]
    assert problems(frame) == [(line, reason, text)]


@pytest.mark.parametrize(
    "content",
    [
        "[" + ", ".join(['{"user": tru}'] * 40_000),
        "[" + "\n   , ".join(['{"user": tru}'] * 40_000),
        "[" + "\n".join(['{"user": ["u1'] * 40_000),
        "[" + ",".join(["1"] * 250_000),
        '["' + '\\"' * 250_000,
        '[{"user": tru' + "\n" + " " * 500_000,
    ],
)
def test_broken_records_are_looked_at_a_few_times_each(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied grows with the file; and patterns that try every way to read it would take hours."""
    copied = 0
    take = JsonText._drop_passed

    def counted(text: JsonText) -> None:
        nonlocal copied
        copied += len(text._text) - text._at
        take(text)

    monkeypatch.setattr(JsonText, "_drop_passed", counted)
    records = list(records_of_document(JsonText(io.StringIO(content), "e.json")))
    assert sum(len(record.text) for record in records) <= len(content) + len("(the list has no end)")
    assert copied <= 20 * len(content)


def test_records_without_a_clear_end_are_an_error(tmp_path: Path) -> None:
    content = '[{"user": "u1"}, {"user": "u2, "kind": "view"}, {"user": "u3", "kind": "view"}]'
    with pytest.raises(DataError, match=r"e\.json is not JSON in line 1.*where the record .* ends.*jq -c '\.\[\]'"):
        read(tmp_path / "e.json", content)


def test_reserved_names_of_a_client_are_rejected(tmp_path: Path) -> None:
    names = [ESCAPED, LINE, OTHER, UNREADABLE, UNREADABLE_ROW, f"{OWN}element", f"{OWN}place", f"{OWN}anything"]
    lines = [f'{{"user": "u1", "{name}": "1"}}' for name in names]
    frame = read(tmp_path / "e.json", '{"user": "u1"}\n' + "\n".join(lines))
    assert [problem[1:] for problem in problems(frame)] == [("reserved_name", line) for line in lines]
    posted = frame_of(list(posted_records(line.encode() for line in lines)))
    assert posted[UNREADABLE].to_list() == ["reserved_name"] * len(names)
    assert set(posted.columns) == {UNREADABLE, UNREADABLE_ROW}


def test_twenty_thousand_keys_are_a_thousand_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MOST_COLUMNS", 100)
    lines = [json.dumps({"user": f"u{n}", **({} if n else {"item": "a"}), f"k{n}": n}) for n in range(20_000)]
    frame = read(tmp_path / "e.json", "\n".join([*lines, '{"item": "b"}', "{"]))
    assert len(frame.columns) <= 105
    assert frame["user"].drop_nulls().to_list() == [f"u{n}" for n in range(20_000)]
    assert frame["item"].drop_nulls().to_list() == ["a", "b"]
    assert json.loads(frame[OTHER][19_999]) == {"k19999": "19999"}
    assert problems(frame) == [(20_002, "not_json", "{")]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_file_cut_short_says_so(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "e.jsonl.gz"
    with pytest.raises(DataError, match=r"e\.jsonl\.gz was cut short") as raised:
        read(path, pack("".join(f'{{"user": "u{n}"}}\n' for n in range(10_000)).encode())[:-20])
    assert str(path) in str(raised.value)


def test_encodings(tmp_path: Path) -> None:
    gb = '{"user": "张伟"}\n'.encode("gb18030")
    assert users(read(tmp_path / "e.json", gb, encoding="gb18030")) == [("张伟", 1)]
    assert problems(read(tmp_path / "e.json", gb))[0][1] == "bad_encoding"
    with pytest.raises(ConfigurationError, match="There is no encoding 'gb18031'"):
        read(tmp_path / "e.json", gb, encoding="gb18031")
    with pytest.raises(DataError, match="is not utf-16-le throughout"):
        read(tmp_path / "e.json", '{"user": "u1"}\n'.encode("utf-16")[:-1])


def test_an_object_without_end_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("json_records", "json_text"):
        monkeypatch.setattr(f"segadmin_plugins.sources.{module}.LONGEST", 1000)
        monkeypatch.setattr(f"segadmin_plugins.sources.{module}.PIECE", 100)
    records = ",\n".join(f'{{"user": "u{n}"}}' for n in range(1000))
    content = f'{{"count": 1000, "events": [\n{records}\n]}}'
    with pytest.raises(DataError, match=r"e\.json has one value of more than .* in line 1.*--option records=KEY"):
        read(tmp_path / "e.json", content)
    assert users(read(tmp_path / "e.json", content, records="events"))[-1] == ("u999", 1001)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(
            ["user", "a b", "项", "\n", '"'],
        ),
        _VALUES,
    ),
    max_size=6,
)
_BROKEN = st.sampled_from(
    ["", '{"user": "u', '{"user": tru}', "{", "}", "null", '"x', '{"user": [}', "\x00", "{'a': 1}"]
)


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=_ROWS,
    indent=st.sampled_from([None, 0, 2]),
    form=st.sampled_from(["lines", "list", "one after the other", "wrapped"]),
    broken=_BROKEN,
    place=st.integers(0, 6),
    piece=st.sampled_from([1, 7, 64, 2**20]),
    ascii_only=st.booleans(),
)
def test_every_good_record_is_read_as_json_reads_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    rows: list[dict[str, object]],
    indent: int | None,
    form: str,
    broken: str,
    place: int,
    piece: int,
    ascii_only: bool,
) -> None:
    """Whatever the layout, wherever a piece ends, and wherever one line is broken."""
    assume(len(rows) > 1 or not any(isinstance(value, list) for row in rows for value in row.values()))  # see wrapped
    monkeypatch.setattr(json_text, "PIECE", piece)
    written = [json.dumps(row, indent=None if form == "lines" else indent, ensure_ascii=ascii_only) for row in rows]
    if broken:
        written.insert(place % (len(written) + 1), broken)
    separator = "\n" if form in {"lines", "one after the other"} else ",\n"
    content = separator.join(written)
    options = {}
    if form in {"list", "wrapped"}:
        content = f"[\n{content}\n]"
    if form == "wrapped":
        content, options = f'{{"n": 12, "records": {content}, "z": 1}}', {"records": "records"}
    (tmp_path / "e.json").write_text(content, encoding="utf-8")
    try:
        chunks = list(JsonLines(**options).chunks(str(tmp_path / "e.json"), 3))
    except DataError:
        assert broken
        return
    frame = pl.concat(chunks) if chunks else pl.DataFrame({LINE: []})
    if UNREADABLE in frame.columns:
        assert broken
        frame = frame.filter(pl.col(UNREADABLE).is_null()).drop(UNREADABLE, UNREADABLE_ROW)
    read_rows = [{key: value for key, value in row.items() if value is not None} for row in frame.drop(LINE).to_dicts()]
    expected = [{key: _cell(value) for key, value in row.items() if value is not None} for row in rows]
    assert read_rows == expected


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def test_memory_holds_a_piece_only() -> None:
    """A list of any length is read, and never held: reading stops where nobody asks for more."""

    class Endless(io.TextIOBase):
        given = 0

        def read(self, size: int | None = -1) -> str:
            assert size is not None
            self.given += size
            text = '{"user": "u1"},\n' * (size // 16 + 1)
            return text if self.given > size else "[" + text

    file = Endless()
    records = json_records.records_of_document(json_text.JsonText(file, "endless"))  # type: ignore[arg-type]
    for _ in range(200_000):
        assert next(records).value == {"user": "u1"}
    assert file.given < 200_000 * 16 + 3 * json_text.PIECE
