"""Words for a missing value: the same in every source and every column."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segadmin.events.clean import clean
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import NULLS, Mapping
from segadmin.settings import Settings
from segadmin.storage.lake import Lake

ROW = {"user": "u1", "kind": "purchase", "item": "a", "at": "2026-01-01", "price": "3", "text": "good"}


@pytest.mark.parametrize("word", [*NULLS, f" {NULLS[0]} ", "", "  "])
def test_every_field_recognises_words_for_missing_values(word: str) -> None:
    def reason(**cells: str) -> list[str]:
        return clean(pl.DataFrame([ROW | cells]), "events", Mapping()).bad["reason"].to_list()

    assert reason(user=word) == ["missing_user"]
    assert reason(item=word) == ["missing_item"]
    assert reason(kind=word) == ["unknown_kind"]
    assert reason(at=word) == ["bad_time"]
    cells = {"price": word, "quantity": word, "text": word, "event_id": word, "status": word}
    good = clean(pl.DataFrame([ROW | cells]), "events", Mapping()).good
    assert good.select(*cells).row(0) == (None,) * len(cells)


def test_words_for_missing_values_are_counted() -> None:
    chunk = pl.DataFrame([ROW | {"price": "NULL", "text": r"\N"}, ROW | {"price": ""}])
    assert clean(chunk, "events", Mapping()).changes == {"null_word": 2}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "categorical", "sql"])
def test_every_source_recognises_words_for_missing_values(settings: Settings, tmp_path: Path, form: str) -> None:
    rows = [ROW, ROW | {"item": "b", "price": r"\N"}, ROW | {"user": "NULL"}, ROW | {"item": "c", "text": "nan"}]
    done, _ = import_file(settings, _written(tmp_path, rows, form))
    assert (done.rows_kept, done.reasons) == (3, {"missing_user": 1})
    events = Lake.of(settings).scan("events").sort("item").collect()
    assert events["price"].to_list() == [3.0, None, 3.0]
    assert events["text"].to_list() == ["good", "good", None]


def _written(folder: Path, rows: list[dict[str, str]], form: str) -> ImportRequest:
    frame = pl.DataFrame(rows)
    where = folder / f"e.{'parquet' if form == 'categorical' else form}"
    if form == "csv":
        frame.write_csv(where)
    elif form == "jsonl":
        where.write_text("\n".join(map(json.dumps, rows)))
    elif form == "sql":
        with sqlite3.connect(where) as database:
            database.execute(f"CREATE TABLE e ({', '.join(ROW)})")
            marks = ", ".join("?" * len(ROW))
            database.executemany(f"INSERT INTO e VALUES ({marks})", [tuple(row.values()) for row in rows])
        return ImportRequest("events", f"sqlite:///{where}", options={"query": "SELECT * FROM e"})
    else:
        kinds: dict[str, Any] = {"user": pl.Categorical, "item": pl.Categorical} if form == "categorical" else {}
        frame.cast(kinds).write_parquet(where)
    return ImportRequest("events", str(where))


def test_what_is_not_a_number_is_missing(settings: Settings, tmp_path: Path) -> None:
    nan = float("nan")
    frame = pl.DataFrame({"user": [1.0, nan], "kind": "view", "item": "a", "at": "2026-01-01", "price": [nan, 1.0]})
    frame.write_parquet(tmp_path / "e.parquet")
    (tmp_path / "e.jsonl").write_text('{"user": 2, "kind": "view", "item": "a", "at": "2026-01-01", "price": NaN}')
    assert import_file(settings, ImportRequest("events", str(tmp_path / "e.parquet")))[0].reasons == {"missing_user": 1}
    assert import_file(settings, ImportRequest("events", str(tmp_path / "e.jsonl")))[0].reasons == {}
    assert Lake.of(settings).scan("events").collect()["price"].to_list() == [None, None]


def test_a_mapping_names_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('nulls = ["匿名", "-"]\n')
    mapping = Mapping.read(tmp_path / "m.toml")
    chunk = pl.DataFrame([ROW | {"user": user} for user in ("匿名", "-", "NULL")])
    cleaned = clean(chunk, "events", mapping)
    assert cleaned.good["user"].to_list() == ["NULL"]
    assert cleaned.bad["reason"].to_list() == ["missing_user"] * 2


def test_cells_that_are_guarded_from_a_spreadsheet() -> None:
    cells = {"user": '="00123"', "price": '="3.50"', "at": '="2026-01-02"', "item": '=""'}
    cleaned = clean(pl.DataFrame([ROW | cells, ROW | {"user": '="00123"'}]), "events", Mapping())
    assert cleaned.good["user"].to_list() == ["00123"]
    assert cleaned.bad["reason"].to_list() == ["missing_item"]
    assert cleaned.changes["guarded_cell"] == 5
