"""Paths into JSON, from whatever source it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segadmin.errors import DataError
from segadmin.events.cells import readable
from segadmin.events.clean import clean, complete
from segadmin.events.elements import each_element
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.events.nested import keys_of, with_paths
from segadmin.settings import Settings
from segadmin.storage.lake import Lake

PROPERTIES = {"product": {"id": "sku-1", "price": 9.5}, "lines": [{"qty": 3}], "page.url": "/a", "big": 2**60 + 1}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("p.product.id", "sku-1"),
        ("p.product.price", "9.5"),
        ("p.lines.0.qty", "3"),
        ("p.lines.1.qty", None),
        ("p.lines.x", None),
        ("p.page.url", "/a"),
        ("p.big", "1152921504606846977"),
        ("p.product", '{"id": "sku-1", "price": 9.5}'),
        ("p.nothing.at.all", None),
        ("p.product.id.deeper", None),
    ],
)
def test_a_value_has_a_path(path: str, value: str | None) -> None:
    chunk = pl.DataFrame({"p": [json.dumps(PROPERTIES), None, "no JSON", '{"', "7"]})
    assert with_paths(chunk, [path])[path].to_list() == [value, None, None, None, None]


def test_a_column_with_that_very_name_comes_first() -> None:
    chunk = pl.DataFrame({"p": ['{"a": {"b": 1}}'], "p.a": ['{"b": 2}'], "p.a.b": ["3"]})
    assert with_paths(chunk, ["p.a.b"])["p.a.b"].to_list() == ["3"]
    assert with_paths(chunk.drop("p.a.b"), ["p.a.b"])["p.a.b"].to_list() == ["2"]


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_every_source_with_objects(settings: Settings, tmp_path: Path, form: str) -> None:
    row: dict[str, Any] = {
        "u": {"id": 7.0},
        "kind": "购买",
        "at": "2026-01-01",
        "p": {"lines": [{"sku": "s", "qty": 2}]},
    }
    path = tmp_path / f"e.{form}"
    if form == "jsonl":
        path.write_text(json.dumps(row))
    elif form == "parquet":
        pl.DataFrame([row]).write_parquet(path)
    else:
        pl.DataFrame([row | {name: json.dumps(row[name]) for name in ("u", "p")}]).write_csv(path)
    mapping = Mapping(
        columns={"user": "u.id", "item": "p.lines.0.sku", "quantity": "p.lines.0.qty"}, extras=("p.lines.0.qty",)
    )
    done, _ = import_file(settings, ImportRequest("events", str(path), mapping))
    assert done.rows_kept == 1
    [event] = Lake.of(settings).scan("events").collect().to_dicts()
    assert (event["item"], event["quantity"], json.loads(event["extras"])) == ("s", 2.0, {"p.lines.0.qty": "2"})
    assert Lake.of(settings).scan("users").collect()["user"].to_list() == ["7"]


def test_a_path_into_no_column_is_refused() -> None:
    chunk = pl.DataFrame({"user": ["u1"], "kind": ["view"], "at": ["2026-01-01"], "properties": ['{"id": 1}']})
    with pytest.raises(DataError, match=r"no column 'propertys.id'. Did you mean 'properties'\?"):
        clean(chunk, "events", Mapping(columns={"item": "propertys.id"}))


def test_a_queue_may_lack_the_column_or_the_path() -> None:
    mapping = Mapping(columns={"item": "p.id"})
    for cells, item in (({"p": '{"id": 1}'}, ["1"]), ({"p": "{}"}, []), ({}, [])):
        chunk = pl.DataFrame([{"user": "u1", "kind": "view", "at": "2026-01-01"} | cells])
        assert clean(complete(readable(chunk), "events", mapping), "events", mapping).good["item"].to_list() == item


def test_the_paths_of_some_objects() -> None:
    assert keys_of(['{"a": {"b": 1, "c": null}, "d": []}', "[[5]]", None, "x"]) == ["a.b", "a.c", "d", "0.0"]


@pytest.mark.parametrize("digits", ["1.10", "12.50", "0.1000000000000000055511151231257827", "12345678901234567890.5"])
def test_a_number_at_a_path_keeps_its_digits(digits: str) -> None:
    chunk = pl.DataFrame({"p": [f'{{"item": {digits}, "lines": [{{"sku": {digits}}}]}}']})
    values = with_paths(chunk, ["p.item", "p.lines.0.sku"])
    assert values.select("p.item", "p.lines.0.sku").row(0) == (digits, digits)
    elements = with_paths(each_element(chunk, "p.lines"), ["p.lines.sku"])
    assert elements["p.lines.sku"].to_list() == [digits]
