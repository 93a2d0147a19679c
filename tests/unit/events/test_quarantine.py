"""From quarantine to a file, corrected, and into the lake."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.contracts.source import LINE, UNREADABLE, UNREADABLE_ROW, Source
from segadmin.errors import DataError
from segadmin.events.cells import raw_rows, readable
from segadmin.events.formulas import escape_formulas, unescape_formulas
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.events.quarantine import as_file, drop_rows, find_rows
from segadmin.settings import Settings
from segadmin.snapshots.export import find_sink
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import
from segadmin_plugins.sources.csv import Csv
from segadmin_plugins.sources.jsonl import JsonLines
from segadmin_plugins.sources.parquet import Parquet
from tests.privacy.victim import event, post

HEADER = "user,kind,item,at,price,text\n"
SOURCES: dict[str, type[Source]] = {"q.csv": Csv, "q.jsonl": JsonLines, "q.parquet": Parquet}


def export(settings: Settings, path: Path, number: int | None = None) -> Path:
    sink = find_sink(settings, path)
    sink.write(as_file(find_rows(settings, number, None).collect(), formulas=sink.formulas).lazy(), path)
    return path


def events(settings: Settings) -> pl.DataFrame:
    return Lake.of(settings).scan("events").sort("item").collect()


@pytest.mark.parametrize("name", SOURCES)
def test_corrected_rows_are_imported(settings: Settings, tmp_path: Path, name: str) -> None:
    rows = ["u1,view,a,2026-01-01,,\n", "u1,purchase,b,2026-01-02,12;50,=1+1\n", "u2,stare,c,2026-01-03,-5,'@x\n"]
    (tmp_path / "e.csv").write_text(HEADER + "".join(rows))
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    path = export(settings, tmp_path / name)
    content = path.read_bytes()
    if name == "q.parquet":
        fixed = pl.read_parquet(path).with_columns(kind=pl.col("kind").replace("stare", "purchase"))
        fixed.with_columns(price=pl.col("price").str.replace(";", ".")).write_parquet(path)
    else:
        path.write_bytes(content.replace(b"12;50", b"12.50").replace(b"stare", b"purchase"))
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert (done.rows_read, done.rows_kept) == (2, 2)
    assert events(settings).select("item", "price", "text").rows() == [
        ("a", None, None), ("b", 12.5, "=1+1"), ("c", -5.0, "'@x")
    ]  # fmt: skip
    assert drop_rows(settings, 1, None) == 2
    assert find_rows(settings, None, None).collect().is_empty()


def test_rows_that_could_not_be_read_are_there_with_their_text(settings: Settings, tmp_path: Path) -> None:
    content = HEADER.encode() + b"u1,view,a,2026-01-01,,\n=u2,view,b\nu3,view,\xff,2026-01-01,,\n"
    (tmp_path / "e.csv").write_bytes(content)
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    path = export(settings, tmp_path / "q.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["quarantine:line"], row["quarantine:reason"], row["quarantine:text"]) for row in rows] == [
        ("3", "ragged_row", "'=u2,view,b"), ("4", "bad_encoding", "u3,view,\\xff,2026-01-01,,")
    ]  # fmt: skip
    path.write_text(HEADER.strip() + ',quarantine:text\nu2,view,b,2026-01-01,,,"\'=u2,view,b"\n')
    assert import_file(settings, ImportRequest("events", str(path)))[0].rows_kept == 1


def test_a_row_that_is_still_wrong_keeps_the_columns_of_the_shop(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(HEADER + "u1,stare,a,2026-01-01,,\n")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    export(settings, tmp_path / "q.csv")
    done, _ = import_file(settings, ImportRequest("events", str(tmp_path / "q.csv")))
    assert done.reasons == {"unknown_kind": 1}
    [row] = find_rows(settings, done.id, None).collect()["row"]
    assert list(json.loads(row)) == HEADER.strip().split(",")


@pytest.mark.parametrize("name", SOURCES)
def test_fields_without_a_column_of_their_own_come_back_too(settings: Settings, tmp_path: Path, name: str) -> None:
    lines = [{"user": "u1", "kind": "view", "item": f"i{n}", "at": "2026-01-01", f"x{n}": n} for n in range(1_500)]
    lines.append({"user": "u1", "kind": "stare", "item": "j", "at": "2026-01-01", "coupon": "c9"})
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mapping = Mapping(extras=("coupon",))
    import_file(settings, ImportRequest("events", str(tmp_path / "e.jsonl"), mapping))
    path = export(settings, tmp_path / name)
    fixed = Mapping(extras=("coupon",), kinds={"stare": "view"})
    done, _ = import_file(settings, ImportRequest("events", str(path), fixed))
    assert done.rows_kept == 1
    assert events(settings).filter(item="j")["extras"].to_list() == ['{"coupon":"c9"}']


def test_rows_of_imports_with_other_columns_need_a_choice(settings: Settings, tmp_path: Path) -> None:
    for number, header in enumerate((HEADER, HEADER, "user,kind,item,at,price,note\n")):
        (tmp_path / f"{number}.csv").write_text(f"{header}u{number},stare,a,2026-01-01,,\n")
        import_file(settings, ImportRequest("events", str(tmp_path / f"{number}.csv")))
    with pytest.raises(DataError, match=r"of imports 1, 2, 3, whose tables or columns differ.*--import 3$"):
        export(settings, tmp_path / "q.csv")
    export(settings, tmp_path / "q.csv", 3)
    assert "note" in (tmp_path / "q.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert drop_rows(settings, 3, "no such ' reason") == 0
    assert drop_rows(settings, 3, "unknown_kind") == 1
    export(settings, tmp_path / "q.csv")
    assert len((tmp_path / "q.csv").read_text(encoding="utf-8-sig").splitlines()) == 3


def test_a_file_that_is_imported_again_replaces_its_rows(settings: Settings, tmp_path: Path) -> None:
    for name, user in (("e", "u1"), ("other", "u2")):
        rows = f"{user},view,a,2026-01-01,,\n{user},stare,b,2026-01-01,,\n{user},view,c,never,,\n"
        (tmp_path / f"{name}.csv").write_text(HEADER + rows)
        import_file(settings, ImportRequest("events", str(tmp_path / f"{name}.csv")))
    request = ImportRequest("events", str(tmp_path / "e.csv"), Mapping(kinds={"stare": "view"}), again=True)
    done, _ = import_file(settings, request)
    assert (done.id, done.rows_kept, done.reasons) == (3, 1, {"duplicate_event": 1, "bad_time": 1})
    [warning] = done.warnings
    assert warning.startswith("The rows in quarantine of import 1, which was of the same file, are gone (2)")
    left = find_rows(settings, None, None).collect()
    assert left.select("import_id", "line").rows() == [(2, 3), (2, 4), (3, 2), (3, 4)]
    done, _ = import_file(settings, request)
    assert find_rows(settings, None, None).collect()["import_id"].to_list() == [2, 2, 4, 4, 4]


def test_rows_of_earlier_queue_imports_stay(settings: Settings) -> None:
    for user in ("u1", "u2"):
        post(settings, event(user, kind="stare"))
        done, _ = import_file(settings, ImportRequest("events", "inbox://"))
        assert not any("same file" in warning for warning in done.warnings)
    assert find_rows(settings, None, None).collect()["import_id"].to_list() == [1, 2]


def test_an_old_database_that_was_restored_gives_no_number_again(settings: Settings, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        if number == 3:  # as a backup from before the second import
            with transaction(settings) as session:
                session.delete(session.get_one(Import, 2))
        (tmp_path / "e.csv").write_text(f"{HEADER}u{number},stare,a,2026-01-01,,\n")
        assert import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))[0].id == number
    assert find_rows(settings, None, None).collect()["import_id"].to_list() == [1, 2, 3]


def test_apostrophes_of_the_export_are_no_quotes(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(HEADER + "u1,view,=a',soon,,=b'\nu2,view,=c',soon,,=d'\n")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv")))
    path = export(settings, tmp_path / "q.csv")
    path.write_text(path.read_text(encoding="utf-8-sig").replace("soon", "2026-01-01"))
    assert import_file(settings, ImportRequest("events", str(path)))[0].rows_kept == 2
    assert events(settings).select("item", "text").rows() == [("=a'", "=b'"), ("=c'", "=d'")]


def test_formulas_are_harmless_and_come_back_as_they_were() -> None:
    cells = ["=1+1", "'=1+1", "''@x", "-5", "-1,234.5", "+44 20", "-", "\t=x", "\rx", "x=", "", None, "'x", "'-5"]
    cells += ["＝1+1", "＋x", "－x", "＠x"]
    frame = pl.DataFrame({"-cells": cells, "number": [-1] * len(cells), "'=name": cells})
    escaped = escape_formulas(frame.lazy()).collect()
    assert escaped["'-cells"].to_list() == [
        "'=1+1", "''=1+1", "'''@x", "-5", "-1,234.5", "'+44 20", "'-", "'\t=x", "'\rx", "x=", "", None, "'x", "''-5",
        "'＝1+1", "'＋x", "'－x", "'＠x",
    ]  # fmt: skip
    assert escaped["number"].to_list() == [-1] * len(cells)
    assert unescape_formulas(escaped).equals(frame)


_CELLS = st.none() | st.text(max_size=8) | st.text(alphabet="'=+-@＝＠\t\r\n\"`,;5 ", max_size=6)
_NAMES = st.lists(st.sampled_from(["user", "-a", "'=b", "@c", "项 目", 'd"']), min_size=1, unique=True)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(SOURCES)))
def test_any_row_comes_back_as_it_was(settings: Settings, tmp_path: Path, data: st.DataObject, name: str) -> None:
    names = data.draw(_NAMES)
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, _CELLS)), min_size=1, max_size=4))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))
    facts = {"import_id": 1, "table": "events", "line": 2, "reason": "bad_time", "column": "at", "value": "=1"}
    quarantined = frame.select(row=raw_rows(frame)).with_columns(**{key: pl.lit(fact) for key, fact in facts.items()})
    sink = find_sink(settings, tmp_path / name)
    sink.write(as_file(quarantined, formulas=sink.formulas).lazy(), tmp_path / name)
    [chunk] = SOURCES[name]().chunks(str(tmp_path / name), 1000)
    back = readable(chunk).drop(LINE, UNREADABLE, UNREADABLE_ROW, strict=False)
    as_null = pl.when(pl.all() != "").then(pl.all())  # CSV has no empty text beside no text
    assert back.select(as_null).equals(frame.select(as_null))


@pytest.mark.parametrize("formulas", [True, False])
def test_a_file_is_the_same_however_many_rows_are_decoded_at_once(
    monkeypatch: pytest.MonkeyPatch, *, formulas: bool
) -> None:
    lines = ['{"user":"a","at":null}', '{"user":"=b","at":"x","late":1}', '{"user":"c"}', '{"early":[1.50],"user":"d"}']
    facts = {"import_id": 1, "table": "events", "reason": "bad_time", "column": "at"}
    rows = pl.DataFrame({"line": [2, 3, 4, 5], "value": [None, None, "yesterday", None], "row": lines})
    rows = rows.with_columns(**{key: pl.lit(fact) for key, fact in facts.items()})
    whole = as_file(rows, formulas=formulas)
    assert whole.columns[:4] == ["user", "at", "late", "early"]
    monkeypatch.setattr("segadmin.events.quarantine._AT_ONCE", 1)
    assert as_file(rows, formulas=formulas).equals(whole)
    assert as_file(rows.clear(), formulas=formulas).is_empty()
