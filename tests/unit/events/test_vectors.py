"""Vectors of items: what an import keeps of them, what goes to quarantine, and what an error says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.events.preview import preview
from segadmin.events.vectors import read_vectors, vector_counts
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import

VECTORS = Mapping(vectors={"image": "embedding"})


def take(settings: Settings, path: Path, frame: pl.DataFrame, mapping: Mapping = VECTORS) -> Import:
    frame.write_parquet(path)
    return import_file(settings, ImportRequest("items", str(path), mapping))[0]


def table(settings: Settings, name: str) -> list[dict[str, Any]]:
    return Lake.of(settings).scan(name).sort("item").collect().to_dicts()


def quarantine(settings: Settings) -> list[tuple[str, ...]]:
    rows = Lake.of(settings).scan("quarantine").sort("line").collect()
    return rows.select("reason", "column", "value").rows()


def test_vectors_are_stored_beside_the_items(settings: Settings, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"item": ["a", "b", "c"], "title": ["A", "B", "C"], "embedding": [[1.0, 2.5], None, [0.0, -1]]}
    )
    record = take(settings, tmp_path / "items.parquet", frame)
    assert (record.rows_kept, record.rows_quarantined) == (3, 0)
    assert [item["title"] for item in table(settings, "items")] == ["A", "B", "C"]
    assert table(settings, "item_vectors") == [
        {"item": "a", "name": "image", "vector": [1.0, 2.5]},
        {"item": "c", "name": "image", "vector": [0.0, -1.0]},
    ]
    assert vector_counts(Lake.of(settings)) == {"image": 2}


@pytest.mark.parametrize(
    ("cells", "problems"),
    [
        (pl.Series([[1.0], [float("nan")], [1.0, float("inf")]]), [None, "NaN at place 1", "inf at place 2"]),
        (pl.Series([[1, 2], [1, None], []]), [None, "no number at place 2", "an empty list"]),
        (pl.Series([[1.0, 1e39]]), ["1e+39 at place 2"]),  # too large for float32
        (pl.Series(["[1, 2e0]", " [ 3 ,4] ", "", "NULL", None]), [None, None, None, None, None]),
        (pl.Series(["[1, NaN]", "[1, x]", "[]"]), ["NaN at place 2", "no number at place 2", "an empty list"]),
        (pl.Series(["red", "[[1]]"]), ["no list of numbers: red", "no number at place 1"]),
        (pl.Series([7.5]), ["no list of numbers: 7.5"]),
        (pl.Series([["a"]]), ["no number at place 1"]),
        (pl.Series([{"a": 1}]), ['no list of numbers: {"a": 1}']),
        (pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float32, 2)), [None]),
        (pl.Series([None], dtype=pl.Null), [None]),
    ],
)
def test_a_cell_that_is_no_vector_is_described(cells: pl.Series, problems: list[str | None]) -> None:
    vectors, found = read_vectors(cells, ("NULL",))
    assert found.to_list() == problems
    assert vectors.dtype == pl.List(pl.Float32)
    assert all(vector is None for vector, problem in zip(vectors, problems, strict=True) if problem)


def test_the_text_of_a_vector_is_read_as_its_list() -> None:
    assert read_vectors(pl.Series(["[0.5, -1e-3]"]), ())[0].to_list() == [pytest.approx([0.5, -0.001])]


def test_unusable_vectors_go_to_quarantine_with_the_whole_row(settings: Settings, tmp_path: Path) -> None:
    cells = [[1.0, 2.0], [1.0, float("nan")], [3.0], [4.0, 5.0]]
    frame = pl.DataFrame({"item": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"], "embedding": cells})
    record = take(settings, tmp_path / "items.parquet", frame)
    assert record.reasons == {"bad_vector": 1, "vector_length": 1}
    assert quarantine(settings) == [
        ("bad_vector", "vector:image", "NaN at place 2"),
        ("vector_length", "vector:image", "1 numbers instead of 2"),
    ]
    assert [item["item"] for item in table(settings, "items")] == ["a", "d"]
    rows = Lake.of(settings).scan("quarantine").sort("line").collect()["row"]
    assert [json.loads(row)["embedding"] for row in rows] == ["[1.0, NaN]", "[3.0]"]


def test_a_store_has_one_length_for_each_name(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path / "1.parquet", pl.DataFrame({"item": ["a"], "embedding": [[1.0, 2.0]]}))
    mixed = pl.DataFrame({"item": ["b", "c", "d"], "embedding": [[1.0], [2.0], [3.0, 4.0]]})
    assert take(settings, tmp_path / "2.parquet", mixed).reasons == {"vector_length": 2}
    longer = pl.DataFrame({"item": ["e"], "embedding": [[1.0, 2.0, 3.0]]})
    message = r"'image' of this import have 3 numbers; those in the store have 2\..* --vector image2=image"
    with pytest.raises(DataError, match=message):
        take(settings, tmp_path / "3.parquet", longer)
    take(settings, tmp_path / "3.parquet", longer, Mapping(vectors={"image2": "embedding"}))
    assert vector_counts(Lake.of(settings)) == {"image": 2, "image2": 1}


def test_an_import_of_vectors_alone_keeps_the_items(settings: Settings, tmp_path: Path) -> None:
    take(settings, tmp_path / "items.parquet", pl.DataFrame({"item": ["a"], "title": ["A"]}), Mapping())
    take(settings, tmp_path / "1.parquet", pl.DataFrame({"item": ["a", "b"], "embedding": [[1.0], [2.0]]}))
    take(settings, tmp_path / "2.parquet", pl.DataFrame({"item": ["a"], "embedding": [[3.0]]}))
    assert [(item["item"], item["title"]) for item in table(settings, "items")] == [("a", "A"), ("b", None)]
    assert [row["vector"] for row in table(settings, "item_vectors")] == [[3.0], [2.0]]


def test_only_items_have_vectors_and_the_column_must_exist(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,kind,item,at,embedding\nu,view,a,2026-01-01,[1]\n")
    with pytest.raises(ConfigurationError, match=r"Only items have vectors, not events\. Leave out image"):
        import_file(settings, ImportRequest("events", str(path), VECTORS))
    with pytest.raises(DataError, match=r"no column 'embeding'\. Did you mean 'embedding'"):
        import_file(settings, ImportRequest("items", str(path), Mapping(vectors={"image": "embeding"})))
    with pytest.raises(DataError, match="name of a vector, ' '"):
        import_file(settings, ImportRequest("items", str(path), Mapping(vectors={" ": "embedding"})))


def test_a_preview_shows_vectors_by_their_length(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('item,embedding\na,"[1, 2]"\nb,red\n')
    shown = preview(settings, ImportRequest("items", str(path), VECTORS), 10)
    assert [(field.field, field.column, field.examples) for field in shown.fields] == [
        ("item", "item", ["a"]),
        ("vector:image", "embedding", ["2 numbers"]),
    ]
    assert [(problem.reason, problem.value) for problem in shown.problems] == [
        ("bad_vector", "no list of numbers: red")
    ]
