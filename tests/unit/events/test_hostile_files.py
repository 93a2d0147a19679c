"""Files as bad as they come: no traceback, nothing written outside the store, every row kept or in quarantine."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.errors import SegadminError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage.lake import Lake

FIELDS = ("user", "kind", "item", "at", "quantity", "price", "rating", "text")
_TIMES = (
    "2026-01-31",
    "2026/1/31",
    "20260131",
    "2026年1月31日",
    "2026-01-31 08:30",
    "2026-01-31T08:30:00.5Z",
    "2026-01-31 08:30:00+08:00",
    "20260131083000",
    "1767225600",
    "1767225600000",
    "31.01.2026",
    "2126-01-01",
    "soon",
    "",
)
_NUMBERS = ("1", "-1", "1.5", "1e999", "nan", "inf", "-inf", "1,234.5", "12,5", "０１", "x", "", "9" * 400)
_TEXTS = (
    "很好",
    "👍👨\u200d👩\u200d👧",
    "שלום \u202eabc",
    "a\x00b",
    "<script>x</script>",
    "x" * 5000,
    '"',
    "a,b;c\td",
    "\ufeff",
    "'; DROP TABLE",
    "",
)
_CELLS = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["u1", "u2", "张伟", "", "../../etc", "\x00"]) | st.text(max_size=8),
        "kind": st.sampled_from(["view", "购买", "退货", "x", ""]),
        "item": st.sampled_from(["a", "苹果", "", "1.0"]),
        "at": st.sampled_from(_TIMES),
        "quantity": st.sampled_from(_NUMBERS),
        "price": st.sampled_from(_NUMBERS),
        "rating": st.sampled_from(_NUMBERS),
        "text": st.sampled_from(_TEXTS) | st.text(max_size=20),
    }
)
_ROWS = st.lists(_CELLS, min_size=1, max_size=12)


def _csv(rows: list[dict[str, str]], separator: str, end: str) -> str:
    def quoted(cell: str) -> str:
        return f'"{cell.replace(chr(34), chr(34) * 2)}"' if any(s in cell for s in f'{separator}"\r\n') else cell

    lines = [separator.join(FIELDS), *(separator.join(quoted(row[name]) for name in FIELDS) for row in rows)]
    return end.join(lines) + end


_FILES = st.one_of(
    st.builds(
        lambda rows, bom, separator, end, encoding: (
            "e.csv",
            bom + _csv(rows, separator, end).encode(encoding, "replace"),
        ),
        _ROWS,
        st.sampled_from([b"", b"\xef\xbb\xbf"]),
        st.sampled_from(",;\t|"),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from(["utf-8", "gb18030", "utf-16"]),
    ),
    st.builds(  # lines of several encodings, ragged rows, NUL, doubled headers
        lambda rows, extra, where: (
            "e.csv",
            b"\n".join(
                [
                    *(lines := _csv(rows, ",", "\n").encode("utf-8", "replace").split(b"\n"))[: 1 + where % len(lines)],
                    extra,
                    *lines[1 + where % len(lines) :],
                ]
            ),
        ),
        _ROWS,
        st.sampled_from(
            [
                b"u1,view,a,2026-01-01",
                b"u1,view,a,2026-01-01" + b",x" * 30,
                "u1,浏览,苹果,2026-01-01,,,,".encode("gb18030"),
                b"\x00" * 20,
                b'"',
                b"",
                b"\xff\xfe",
                ",".join(FIELDS).encode(),
            ]
        ),
        st.integers(0, 20),
    ),
    st.builds(
        lambda rows, extra: ("e.jsonl", b"\n".join([*(json.dumps(row).encode() for row in rows), extra])),
        _ROWS,
        st.sampled_from(
            [
                b"",
                b"{",
                b"[]",
                b"null",
                b'{"user": [1, {"a": null}]}',
                b"\xff",
                b'{"user": ' + b"9" * 5000 + b"}",
                b"[" * 5000,
            ]
        ),
    ),
    st.builds(
        lambda content, name: (name, content),
        st.binary(max_size=300),
        st.sampled_from(["e.csv", "e.jsonl", "e.parquet", "e.csv.gz"]),
    ),
)


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(_FILES)
def test_any_file_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    settings = Settings(home=folder / "home", buckets=2)
    name, content = file
    (folder / name).write_bytes(content)
    _check(settings, folder / name)
    assert {path.name for path in folder.iterdir()} == {name, "home"}


def _check(settings: Settings, path: Path) -> None:
    lake = Lake.of(settings)
    try:
        done, _ = import_file(settings, ImportRequest("events", str(path)))
    except SegadminError as error:
        assert str(error)
        assert lake.scan("events").collect().is_empty()
        return
    kept, bad = lake.scan("events").collect(), lake.scan("quarantine").collect()
    assert done.rows_read == kept.height + bad.height
    assert (done.rows_kept, done.rows_quarantined) == (kept.height, bad.height)
    assert bad["reason"].null_count() == bad["row"].null_count() == 0
    assert bad["line"].n_unique() == bad.height
    assert kept["at"].null_count() == kept["user_key"].null_count() == 0


def test_a_cell_of_ten_megabytes(settings: Settings, tmp_path: Path) -> None:
    cell = "好" * (10 * 2**20 // 3)
    pl.DataFrame([{"user": "u1", "kind": "review", "item": "a", "at": "2026-01-01", "text": cell}]).write_csv(
        tmp_path / "e.csv"
    )
    _check(settings, tmp_path / "e.csv")
    assert Lake.of(settings).scan("events").collect()["text"].to_list() == [cell]


def test_a_file_cut_short_brings_nothing(settings: Settings, tmp_path: Path) -> None:
    frame = pl.DataFrame([{"user": f"u{n}", "kind": "view", "item": "a", "at": "2026-01-01"} for n in range(5000)])
    frame.write_parquet(tmp_path / "e.parquet", row_group_size=500)
    whole = (tmp_path / "e.parquet").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "e.parquet").write_bytes(whole[: int(len(whole) * share)])
        _check(settings, tmp_path / "e.parquet")
    (tmp_path / "e.parquet").write_bytes(whole[:2000] + bytes(200) + whole[2200:])
    _check(settings, tmp_path / "e.parquet")


def test_a_symbolic_link_in_the_lake_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    lake = settings.store_path / "lake"
    lake.mkdir(parents=True)
    (lake / "users").symlink_to(outside)
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2026-01-01\n")
    with pytest.raises(SegadminError, match="is a symbolic link, which is not followed"):
        import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    assert not list(outside.iterdir())
