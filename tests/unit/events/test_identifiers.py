"""Ids: one user, item or event has one id, whatever the file that it came in; and nothing stands for several."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.errors import DataError
from segadmin.events.clean import clean
from segadmin.events.erase import forget
from segadmin.events.identifiers import clean_ids, plain_id
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.keys import candidate_keys, user_key
from segadmin.events.mapping import Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.settings import Settings
from segadmin.snapshots.user import find_user
from segadmin.storage.lake import Lake

EVENT = {"user": "u1", "kind": "view", "item": "a", "at": "2026-01-01"}


def take(settings: Settings, path: Path, table: str = "events", **more: Any) -> dict[str, int]:
    return import_file(settings, ImportRequest(table, str(path), **more))[0].reasons


def users(settings: Settings) -> list[str]:
    return sorted(Lake.of(settings).scan("users").collect()["user"])


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("13085.0", "13085"),
        ("13085.00", "13085"),
        ("-7.0", "-7"),
        ("-0.0", "0"),
        ("9007199254740991.0", "9007199254740991"),
        ('="00123"', "00123"),
        ('="13085.0"', "13085"),
        ("1.10", "1.10"),
        ("00123.0", "00123.0"),
        ("1.0.0", "1.0.0"),
        ("v1.0", "v1.0"),
        ("12345678901234567890", "12345678901234567890"),
        ("１２.0", "１２.0"),
        ("1e5", "1e5"),
        ("3E10", "3E10"),
    ],
)
def test_an_id_has_one_form(given: str, stored: str) -> None:
    cleaned = clean(pl.DataFrame([EVENT | {"user": given, "item": given}]), "events", Mapping())
    assert cleaned.good.select("user", "item").row(0) == (stored, stored)
    assert plain_id(given) == stored


@pytest.mark.parametrize(
    "given",
    ["1.29403E+18", "1,29403E+18", "1.29403e+18", "1E+15", "-4.5E+20", "9007199254740993.0", "12345678901234567890.0"],
)
@pytest.mark.parametrize("field", ["user", "item", "event_id"])
def test_an_id_that_a_spreadsheet_cut_is_in_quarantine(given: str, field: str) -> None:
    [bad] = clean(pl.DataFrame([EVENT | {field: given}]), "events", Mapping()).bad.to_dicts()
    assert (bad["reason"], bad["column"], bad["value"]) == ("mangled_id", field, given)


def test_decimals_beyond_what_they_hold_are_in_quarantine() -> None:
    chunk = pl.DataFrame([EVENT | {"user": user} for user in (1e15, 2.0**53, 1.29403e18, 1e18, 2.5)])
    cleaned = clean(chunk, "events", Mapping())
    assert cleaned.good["user"].to_list() == ["1000000000000000", "2.5"]
    assert cleaned.bad["reason"].to_list() == ["mangled_id"] * 3


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("user", [9007199254740993, 2**63 - 1], dtype=pl.Int64),
        pl.Series("user", [9007199254740993, 2**64 - 1], dtype=pl.UInt64),
        pl.Series("user", [Decimal(9007199254740993), Decimal(2**64 - 1)], dtype=pl.Decimal(38, 0)),
        pl.Series("user", [Decimal("9007199254740993.00"), Decimal(2**64 - 1)], dtype=pl.Decimal(38, 2)),
    ],
)
def test_long_numbers_of_exact_types_stay_exact(column: pl.Series) -> None:
    chunk = pl.DataFrame([EVENT, EVENT]).with_columns(column)
    expected = [str(int(number)) for number in column.to_list()]
    assert clean(chunk, "events", Mapping()).good["user"].to_list() == expected


def test_json_keeps_long_numbers_exact(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text(json.dumps(EVENT | {"user": 12345678901234567890123}))
    take(settings, tmp_path / "e.jsonl")
    assert users(settings) == ["12345678901234567890123"]


_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1)


@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(_NUMBERS, min_size=1, max_size=5, unique=True))
def test_a_number_is_one_user_in_every_source(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    folder = tmp_path_factory.mktemp("ids")
    settings = Settings(home=folder / "home", buckets=2)
    day = iter(range(1, 28))

    def rows(form: type) -> list[dict[str, Any]]:
        at = f"2026-01-{next(day):02}"
        return [EVENT | {"user": form(number), "at": at} for number in numbers]

    pl.DataFrame(rows(str)).write_csv(folder / "text.csv")
    lines = [",".join([f"{row['user']}.0", row["kind"], row["item"], row["at"]]) for row in rows(int)]
    (folder / "decimal.csv").write_text("\n".join(["user,kind,item,at", *lines]))
    (folder / "e.jsonl").write_text("\n".join(map(json.dumps, rows(int))))
    (folder / "float.jsonl").write_text("\n".join(map(json.dumps, rows(float))))
    pl.DataFrame(rows(float)).write_parquet(folder / "float.parquet")
    pl.DataFrame(rows(int)).write_parquet(folder / "int.parquet")
    names = ("text.csv", "decimal.csv", "e.jsonl", "int.parquet")
    short = all(abs(number) < 10**16 for number in numbers)
    for name in (*names, "float.jsonl", "float.parquet") if short else names:
        assert take(settings, folder / name) == {}
    assert users(settings) == sorted(map(str, numbers))
    assert {plain_id(f"{number}.0") for number in numbers} == set(map(str, numbers))


@given(st.lists(st.from_regex(r'(="?)?-?[0-9]{0,18}(\.[0-9]{0,3})?"?', fullmatch=True) | st.text(max_size=6)))
def test_a_column_is_cleaned_as_each_of_its_ids(ids: list[str]) -> None:
    cells = [cell.strip() for cell in ids if not cell.strip().startswith('="')]
    cleaned = clean_ids(pl.Series(cells, dtype=pl.String)).cells.to_list()
    assert [cell or None for cell in cleaned] == [plain_id(cell) or None for cell in cells]


def test_labels_and_commands_mean_the_same_user(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user,kind,item,at\n13085.0,view,a,2026-01-01\n13086.0,,a,2026-01-01\n")
    (tmp_path / "l.csv").write_text("user,segment\n13085,1.0\n")
    take(settings, tmp_path / "e.csv")
    assert take(settings, tmp_path / "l.csv", "labels", label_set="value") == {}
    assert Lake.of(settings).scan("labels").collect()["segment"].to_list() == ["1"]
    assert find_user(settings, "13085") == find_user(settings, "13085.0") == find_user(settings, '="13085"')
    [erased] = forget(settings, ["13085.0"])
    assert erased.rows["events"] == erased.rows["labels"] == erased.rows["users"] == 1


def test_erasing_finds_the_id_in_quarantine_as_it_came(settings: Settings, tmp_path: Path) -> None:
    frame = pl.DataFrame([EVENT | {"user": user, "kind": "stare"} for user in (13085.0, 130.5)])
    frame.write_parquet(tmp_path / "e.parquet")
    take(settings, tmp_path / "e.parquet")
    [erased] = forget(settings, ["13085"])
    assert erased.rows["quarantine"] == 1
    assert json.loads(Lake.of(settings).scan("quarantine").collect()["row"].item())["user"] == 130.5


def test_a_user_stored_in_another_form_is_still_found() -> None:
    assert candidate_keys(b"secret", "13085.0") == [user_key(b"secret", "13085"), user_key(b"secret", "13085.0")]


def test_numbers_for_kinds_and_segments_lose_their_zero() -> None:
    rows = [EVENT | {"kind": kind} for kind in ("1.0", "2.0", "3.0", "\u200bBUY", "购买")]
    cleaned = clean(pl.DataFrame(rows), "events", Mapping(kinds={"1": "view", "2.0": "cart", "3.0": "ignore"}))
    assert cleaned.good["kind"].to_list() == ["view", "cart", "purchase", "purchase"]
    assert cleaned.ignored == 1


def test_constants_of_a_mapping_are_cleaned_as_ids(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("x\n1\n2\n")
    constants = {"user": "13085.0", "kind": "PV", "item": "NULL", "at": "2026-01-01"}
    assert take(settings, tmp_path / "e.csv", mapping=Mapping(constants=constants)) == {"missing_item": 2}
    constants["item"] = "7.0"
    mapping = Mapping(constants=constants)
    assert take(settings, tmp_path / "e.csv", mapping=mapping, again=True) == {"duplicate_event": 1}
    assert users(settings) == ["13085"]


def test_an_object_is_no_id() -> None:
    chunk = pl.DataFrame([EVENT | {"item": '{"sku": 1}'}, EVENT | {"item": "[7]"}, EVENT | {"item": "{sku}"}])
    cleaned = clean(chunk, "events", Mapping())
    assert cleaned.good["item"].to_list() == ["{sku}"]
    assert cleaned.bad["reason"].to_list() == ["nested_id"] * 2


def test_a_column_of_objects_as_an_id_is_refused_with_their_paths() -> None:
    cells = ['{"product": {"id": 7, "name": "x"}, "tags": [{"id": 1}]}', '{"sku.code": 8}', None]
    chunk = pl.DataFrame([EVENT | {"properties": cell} for cell in cells]).drop("item")
    mapping = Mapping(columns={"item": "properties"})
    words = (
        r"item is read from 'properties', which holds JSON.*--map item=properties.product.id; there are: "
        r"properties.product.id, properties.product.name, properties.tags.0.id, properties.sku.code"
    )
    with pytest.raises(DataError, match=words):
        clean(chunk, "events", mapping)
    queued = clean(chunk, "events", mapping, numbers=NumberColumns(mapping, whole=False))
    assert queued.bad["reason"].to_list() == ["nested_id", "nested_id", "missing_item"]
