"""Taking files in: what is kept, what is quarantined and why, and what an error says."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlmodel import select

from segadmin.errors import ConfigurationError, DataError
from segadmin.events import ingest
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.keys import parse_key, show_key, user_key
from segadmin.events.mapping import Mapping
from segadmin.events.times import read_time
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, LabelSet

HEADER = "user,kind,item,at,quantity,price,rating,text"


def csv(tmp_path: Path, *lines: str, header: str = HEADER, name: str = "events.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def take(settings: Settings, path: Path, table: str = "events", **more: Any) -> Import:
    return import_file(settings, ImportRequest(table, str(path), **more))[0]


def rows(settings: Settings, table: str) -> pl.DataFrame:
    return Lake.of(settings).scan(table).collect()


GOOD = "u1,purchase,a,2026-01-02 03:04,2,9.5,,"


@pytest.mark.parametrize(
    ("line", "reason", "column", "value"),
    [
        (",view,a,2026-01-01,,,,", "missing_user", "user", None),
        ("u1,view,,2026-01-01,,,,", "missing_item", "item", None),
        ("u1,stare,a,2026-01-01,,,,", "unknown_kind", "kind", "stare"),
        ("u1,,a,2026-01-01,,,,", "unknown_kind", "kind", None),
        ("u1,view,a,yesterday,,,,", "bad_time", "at", "yesterday"),
        ("u1,view,a,2026-02-30,,,,", "bad_time", "at", "2026-02-30"),
        ("u1,view,a,1970-01-01,,,,", "bad_time", "at", "1970-01-01"),
        ("u1,view,a,2126-01-01,,,,", "future_time", "at", "2126-01-01"),
        ("u1,view,a,,,,,", "bad_time", "at", None),
        ("u1,view,a,2026-01-01,many,,,", "bad_number", "quantity", "many"),
        ("u1,view,a,2026-01-01,-1,,,", "bad_number", "quantity", "-1"),
        ("u1,view,a,2026-01-01,,free,,", "bad_number", "price", "free"),
        ("u1,view,a,2026-01-01,,inf,,", "bad_number", "price", "inf"),
        (GOOD, "duplicate_event", "event_id", ...),
    ],
)
def test_a_bad_row_goes_to_quarantine_as_it_came(
    settings: Settings, tmp_path: Path, line: str, reason: str, column: str, value: object
) -> None:
    done = take(settings, csv(tmp_path, GOOD, line, "u2,view,b,2026-01-01,,,,"))
    assert (done.rows_read, done.rows_kept, done.rows_quarantined) == (3, 2, 1)
    assert done.reasons == {reason: 1}
    [bad] = rows(settings, "quarantine").to_dicts()
    assert (bad["import_id"], bad["line"], bad["reason"], bad["column"]) == (done.id, 3, reason, column)
    assert value is ... or bad["value"] == value
    assert [json.loads(bad["row"])[name] or "" for name in HEADER.split(",")] == line.split(",")


def test_words_and_times_in_other_forms(settings: Settings, tmp_path: Path) -> None:
    lines = [
        "张伟,购买,苹果,2026-01-01 08:00,,,,",
        "张伟,PV,苹果,2026/01/01 08:00:30,,,,",
        "张伟,add_to_cart,苹果,2026-01-01T00:00:00Z,,,,",
        "张伟,评论,苹果,1767225600,,,,很好，下次再来",
        "张伟,评分,苹果,1767225600000,,,5,",
    ]
    done = take(settings, csv(tmp_path, *lines), mapping=Mapping(timezone="Asia/Shanghai"))
    assert done.rows_quarantined == 0
    stored = rows(settings, "events").sort("kind")
    assert stored["kind"].to_list() == ["cart", "purchase", "rating", "review", "view"]
    assert {moment.replace(second=0).isoformat() for moment in stored["at"]} == {"2026-01-01T00:00:00+00:00"}
    assert stored["text"].drop_nulls().to_list() == ["很好，下次再来"]


def test_a_time_zone_that_does_not_exist_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no time zone 'Shanghai'"):
        take(settings, csv(tmp_path, GOOD), mapping=Mapping(timezone="Shanghai"))


def test_columns_are_mapped_set_and_kept_as_extras(settings: Settings, tmp_path: Path) -> None:
    path = csv(tmp_path, "u1,a,2026-01-01,7", header="顾客,商品,时间,basket")
    columns = Mapping(
        columns={"user": "顾客", "item": "商品", "at": "时间"}, constants={"kind": "purchase"}, extras=("basket",)
    )
    take(settings, path, mapping=columns)
    [event] = rows(settings, "events").to_dicts()
    assert (event["kind"], event["item"], json.loads(event["extras"])) == ("purchase", "a", {"basket": "7"})


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (Mapping(), DataError, "no column for user, at; its columns are: kind, item, when, who.*--map user=COLUMN"),
        (Mapping(columns={"user": "whoo"}), DataError, r"has no column 'whoo'. Did you mean 'who'\?"),
        (Mapping(columns={"usr": "who"}), ConfigurationError, r"events have no field 'usr'. Did you mean 'user'\?"),
        (Mapping(extras=("basket",)), DataError, "has no column 'basket'"),
    ],
)
def test_columns_that_are_not_there(
    settings: Settings, tmp_path: Path, columns: Mapping, error: type[Exception], words: str
) -> None:
    path = csv(tmp_path, "view,a,2026-01-01,u1", header="kind,item,when,who")
    with pytest.raises(error, match=words):
        take(settings, path, mapping=columns)
    assert rows(settings, "events").is_empty()
    with transaction(settings) as session:
        assert [record.state for record in session.exec(select(Import)).all()] == ["failed"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("e.csv", "用户,种类\n".encode("gb18030"), "header is not utf-8.*encoding=gb18030"),
        ("e.csv", b"", "is empty"),
        ("e.csv", HEADER.encode() + b"\n", "has no rows"),
        ("e.jsonl", b'["u1"]\n', "No row can be read: the first one is not_json"),
        ("e.jsonl", '{"user": "张"}\n'.encode("gb18030"), "No row can be read: the first one is bad_encoding"),
        ("e.parquet", b"PAR1 no", "cannot be read as Parquet"),
        (
            "e.xlsx",
            b"PK",
            "not clear what kind of source e.xlsx is. Add --source; there are: csv, delta, images, inbox, jsonl",
        ),
    ],
)
def test_files_that_cannot_be_read(settings: Settings, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        take(settings, path)
    assert rows(settings, "events").is_empty()


def test_a_file_that_is_not_there(settings: Settings) -> None:
    with pytest.raises(DataError, match=r"There is no file nowhere.csv"):
        take(settings, Path("nowhere.csv"))


def test_every_kind_of_file_gives_the_same_events(settings: Settings, tmp_path: Path) -> None:
    lines = [GOOD, "u2,view,b,2026-01-01,,,,好"]
    path = csv(tmp_path, *lines)
    frame = pl.read_csv(path, infer_schema=False)
    frame.write_ndjson(tmp_path / "e.jsonl")
    frame.write_parquet(tmp_path / "e.parquet")
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert take(settings, path).rows_kept == 2
    for name in ("e.jsonl", "e.parquet", "e.csv.gz"):
        again = take(settings, tmp_path / name)
        assert (again.rows_kept, again.reasons) == (0, {"duplicate_event": 2})


def test_the_shops_own_event_ids_decide_what_is_a_duplicate(settings: Settings, tmp_path: Path) -> None:
    header = "event_id,user,kind,item,at"
    path = csv(tmp_path, "1,u1,view,a,2026-01-01", "1,u1,view,b,2026-01-01", "2,u1,view,a,2026-01-01", header=header)
    assert take(settings, path).reasons == {"duplicate_event": 1}


def test_the_same_file_is_imported_once(settings: Settings, tmp_path: Path) -> None:
    path = csv(tmp_path, GOOD)
    first, fresh = import_file(settings, ImportRequest("events", str(path)))
    assert fresh
    again, fresh = import_file(settings, ImportRequest("events", str(path)))
    assert (again.id, fresh) == (first.id, False)
    forced = take(settings, path, again=True)
    assert forced.reasons == {"duplicate_event": 1}
    assert rows(settings, "events").height == 1


def test_an_interrupted_import_goes_on(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 100)
    lines = [f"u{n % 37},{'view' if n % 5 else 'stare'},i{n},2026-01-01 00:00,,,," for n in range(1000)]
    path = csv(tmp_path, *lines)

    def stop(read: int) -> None:
        if read >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(settings, ImportRequest("events", str(path)), stop)
    assert rows(settings, "events").is_empty()
    done = take(settings, path)
    assert (done.rows_read, done.rows_kept, done.reasons) == (1000, 800, {"unknown_kind": 200})
    assert rows(settings, "events").height == rows(settings, "events")["item"].n_unique() == 800
    assert rows(settings, "quarantine")["line"].sort().to_list() == list(range(2, 1002, 5))
    assert rows(settings, "users").height == 37


_CELLS = {
    "user": st.sampled_from(["u1", "u2", "", " "]),
    "kind": st.sampled_from(["view", "购买", "x", ""]),
    "item": st.sampled_from(["a", "b", ""]),
    "at": st.sampled_from(["2026-01-01", "2026-01-01 10:00", "soon", "", "1e99", "99999999999999"]),
    "quantity": st.sampled_from(["1", "-1", "1e999", "x", ""]),
    "price": st.sampled_from(["1.5", "-2", "nan", ""]),
}


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(_CELLS), min_size=1, max_size=30))
def test_no_row_is_lost(tmp_path_factory: pytest.TempPathFactory, cells: list[dict[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("dirty")
    settings = Settings(home=folder / "home")
    path = folder / "e.parquet"
    pl.DataFrame(cells).write_parquet(path)
    done = take(settings, path)
    assert done.rows_read == len(cells) == rows(settings, "events").height + rows(settings, "quarantine").height


def test_the_newest_version_of_an_item_wins(settings: Settings, tmp_path: Path) -> None:
    take(settings, csv(tmp_path, "a,苹果,1", "b,梨,2", header="item,title,price"), "items")
    take(settings, csv(tmp_path, "a,青苹果,x", "a,红苹果,3", header="item,title,price"), "items")
    items = rows(settings, "items").sort("item")
    assert items["title"].to_list() == ["红苹果", "梨"]
    assert rows(settings, "quarantine")["reason"].to_list() == ["bad_number"]


def test_labels_replace_the_set_and_unknown_users_are_kept_out(settings: Settings, tmp_path: Path) -> None:
    take(settings, csv(tmp_path, GOOD, "u2,view,b,2026-01-01,,,,"))
    path = csv(tmp_path, "u1,high,2026-02-01", "u2,low,", "u9,low,", "u1,,", header="user,segment,as_of", name="l.csv")
    done = take(settings, path, "labels", label_set="value", segments=("low", "high"))
    assert done.reasons == {"unknown_user": 1, "missing_segment": 1}
    with transaction(settings) as session:
        saved = session.get_one(LabelSet, "value")
        assert (saved.rows, saved.segments) == (2, ["low", "high"])
    assert rows(settings, "labels")["as_of"].null_count() == 1
    other = csv(tmp_path, "u1,mid", header="user,segment", name="m.csv")
    with pytest.raises(DataError, match="segments that --segments does not name: mid"):
        take(settings, other, "labels", label_set="value", segments=("low", "high"))
    assert rows(settings, "labels").height == 2
    take(settings, other, "labels", label_set="value")
    assert rows(settings, "labels")["segment"].to_list() == ["mid"]


def test_another_secret_or_number_of_buckets_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(settings, csv(tmp_path, GOOD))
    monkeypatch.setenv("SEGADMIN_BUCKETS", "4")
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=r"SEGADMIN_BUCKETS=4, but the store was made with 16"):
        take(get_settings(), csv(tmp_path, "u3,view,a,2026-01-01,,,,"))
    monkeypatch.delenv("SEGADMIN_BUCKETS")
    monkeypatch.setenv("SEGADMIN_USER_KEY_SECRET", "other")
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=r"Restore SEGADMIN_USER_KEY_SECRET"):
        take(get_settings(), csv(tmp_path, "u3,view,a,2026-01-01,,,,"))


def test_raw_ids_are_in_no_table_but_users(settings: Settings, tmp_path: Path) -> None:
    take(settings, csv(tmp_path, "alice@example.com,view,a,2026-01-01,,,,"))
    assert rows(settings, "users")["user"].to_list() == ["alice@example.com"]
    assert "alice" not in rows(settings, "events").write_json()


@given(st.integers(-(2**63), 2**63 - 1))
def test_keys_show_and_parse(key: int) -> None:
    assert parse_key(show_key(key)) == key
    assert len(show_key(key)) == 16


def test_keys_never_change() -> None:
    assert show_key(user_key(b"secret", "张伟")) == "bee0b60f04c90123"


@pytest.mark.parametrize(
    "written",
    ["2026-01-01 08:00:00+08", "2026-01-01 08:00+0800", "2026-01-01 00:00:00 UTC", "2026-01-01T00:00:00.000Z"],
)
def test_zones_as_databases_write_them(settings: Settings, tmp_path: Path, written: str) -> None:
    take(settings, csv(tmp_path, f"u1,view,a,{written},,,,"))
    assert rows(settings, "events")["at"].item().isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_column_that_is_there_twice_is_not_guessed_at(settings: Settings, tmp_path: Path) -> None:
    path = csv(tmp_path, "u1,u2,view,a,2026-01-01", header="user,user,kind,item,at")
    with pytest.raises(DataError, match=r"several columns 'user'.*--map user=user_duplicated_0 is the second"):
        take(settings, path)
    assert take(settings, path, mapping=Mapping(columns={"user": "user_duplicated_0"})).rows_kept == 1
    assert rows(settings, "users")["user"].to_list() == ["u2"]


def test_spaces_around_names_do_not_count(settings: Settings, tmp_path: Path) -> None:
    assert take(settings, csv(tmp_path, "u1,view,a,2026-01-01", header="user , kind, item,at")).rows_kept == 1


def test_lists_bytes_and_half_characters_are_kept_readable(settings: Settings, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user": ["u1"], "kind": ["stare"], "item": [b"\xff\x00"], "at": ["2026-01-01"], "tags": [["a"]]}
    )
    frame.write_parquet(tmp_path / "e.parquet")
    assert take(settings, tmp_path / "e.parquet").reasons == {"unknown_kind": 1}
    [bad] = rows(settings, "quarantine")["row"].to_list()
    assert json.loads(bad)["item"] == "ff00"
    assert json.loads(json.loads(bad)["tags"]) == ["a"]
    line = '{"user": "u1", "kind": "review", "item": "a", "at": "2026-01-01", "text": "好\\ud83d"}'
    (tmp_path / "e.jsonl").write_text(line)
    assert take(settings, tmp_path / "e.jsonl").rows_kept == 1
    assert rows(settings, "events")["text"].to_list() == ["好\\ud83d"]


def test_labels_whose_users_came_later_can_be_imported_again(settings: Settings, tmp_path: Path) -> None:
    labels = csv(tmp_path, "u1,high", header="user,segment", name="l.csv")
    with pytest.raises(DataError, match="No row of the file is usable"):
        take(settings, labels, "labels", label_set="value")
    take(settings, csv(tmp_path, GOOD))
    assert take(settings, labels, "labels", label_set="value").rows_kept == 1


@pytest.mark.parametrize("written", ["2026年1月31日 08:30", "20260131083000", "2026/1/31 8:30", "1769848200000000"])
def test_times_as_chinese_logs_write_them(settings: Settings, tmp_path: Path, written: str) -> None:
    take(settings, csv(tmp_path, f"u1,view,a,{written},,,,", "u2,view,a,2026-01-31 08:30:00,,,,"))
    assert [moment.isoformat() for moment in rows(settings, "events")["at"]] == ["2026-01-31T08:30:00+00:00"] * 2


@given(st.datetimes(min_value=datetime(1990, 1, 2), max_value=datetime(2100, 1, 1)), st.sampled_from([" ", "T"]))
def test_any_time_is_read_back(moment: datetime, between: str) -> None:
    zones = {"": moment.replace(tzinfo=ZoneInfo("Asia/Shanghai")), "Z": moment.replace(tzinfo=UTC)}
    for zone, expected in zones.items():
        cell = pl.Series([moment.isoformat(between) + zone]).to_frame("at")
        assert cell.select(read_time(pl.col("at"), "Asia/Shanghai")).item() == expected


def test_ids_that_became_decimals_and_numbers_that_json_lacks(settings: Settings, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user": [1.0, 2.5, float("nan")], "kind": "view", "item": [7.0, 8.0, 9.0], "at": "2026-01-01"}
    )
    frame.write_parquet(tmp_path / "e.parquet")
    done = take(settings, tmp_path / "e.parquet")
    assert done.reasons == {"missing_user": 1}
    assert sorted(rows(settings, "users")["user"]) == ["1", "2.5"]
    assert sorted(rows(settings, "events")["item"]) == ["7", "8"]
    assert json.loads(rows(settings, "quarantine")["row"].item())["user"] == "NaN"


def test_event_ids_never_change(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_USER_KEY_SECRET", "secret")
    get_settings.cache_clear()
    take(get_settings(), csv(tmp_path, "张伟,评论,苹果,2026-01-01,,0.1,,很好"))
    assert rows(settings, "events")["event_id"].to_list() == [-7458301236338168065]


def test_an_older_file_or_another_order_brings_the_labels_back(settings: Settings, tmp_path: Path) -> None:
    take(settings, csv(tmp_path, GOOD))
    old = csv(tmp_path, "u1,high", header="user,segment", name="old.csv")
    new = csv(tmp_path, "u1,low", header="user,segment", name="new.csv")
    for path in (old, new, old):
        assert import_file(settings, ImportRequest("labels", str(path), label_set="value"))[1]
    assert rows(settings, "labels")["segment"].to_list() == ["high"]
    assert not import_file(settings, ImportRequest("labels", str(old), label_set="value"))[1]
    assert import_file(settings, ImportRequest("labels", str(old), label_set="value", segments=("low", "high")))[1]
    with transaction(settings) as session:
        assert session.get_one(LabelSet, "value").segments == ["low", "high"]


def test_a_label_whose_window_is_empty_is_kept_out(settings: Settings, tmp_path: Path) -> None:
    take(settings, csv(tmp_path, GOOD, "u2,view,b,2026-01-01,,,,"))
    header = "user,segment,observed_from,as_of"
    path = csv(tmp_path, "u1,a,2026-02-01,2026-01-01", "u2,b,2026-01-01,2026-02-01", header=header, name="l.csv")
    assert take(settings, path, "labels", label_set="value").reasons == {"bad_time": 1}


def test_hours_that_a_clock_skips_or_has_twice(settings: Settings, tmp_path: Path) -> None:
    lines = ("u1,view,a,2026-03-08 02:30,,,,", "u1,view,b,2026-11-01 01:30,,,,")
    assert take(settings, csv(tmp_path, *lines), mapping=Mapping(timezone="America/New_York")).reasons == {
        "bad_time": 1
    }
    assert rows(settings, "quarantine")["value"].to_list() == ["2026-03-08 02:30"]
    assert rows(settings, "events")["at"].item().isoformat() == "2026-11-01T05:30:00+00:00"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_a_parquet_time_with_a_zone_keeps_its_moment(settings: Settings, tmp_path: Path, zone: str) -> None:
    moment = pl.Series("at", [datetime(2026, 1, 1, 8, tzinfo=UTC)]).dt.convert_time_zone(zone)
    frame = pl.DataFrame({"user": ["u1"], "kind": ["view"], "item": ["a"], "at": moment})
    frame.write_parquet(tmp_path / "e.parquet")
    take(settings, tmp_path / "e.parquet", mapping=Mapping(timezone="Asia/Tokyo"))
    assert rows(settings, "events")["at"].item() == datetime(2026, 1, 1, 8, tzinfo=UTC)


def test_a_duplicate_in_another_chunk_is_found(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 2)
    path = csv(tmp_path, *(f"u1,view,i{n % 4},2026-01-01,,,," for n in range(7)))
    assert take(settings, path).reasons == {"duplicate_event": 3}
    assert sorted(rows(settings, "events")["item"]) == ["i0", "i1", "i2", "i3"]
    assert rows(settings, "users").height == 1


def test_every_field_may_be_a_constant(settings: Settings, tmp_path: Path) -> None:
    columns = Mapping(constants={"user": "u1", "kind": "view", "item": "a", "at": "2026-01-01"})
    done = take(settings, csv(tmp_path, "1", "2", "3", header="x"), mapping=columns)
    assert (done.rows_read, done.rows_kept, done.reasons) == (3, 1, {"duplicate_event": 2})


def test_no_other_file_of_the_store_has_raw_ids(settings: Settings, tmp_path: Path) -> None:
    """Looks at the bytes, so a table that is added later is looked at too."""
    who = "alice@example.com"
    take(settings, csv(tmp_path, f"{who},view,a,2026-01-01,,,,", f"{who},stare,a,2026-01-01,,,,"))
    take(settings, csv(tmp_path, f"{who},high", header="user,segment", name="l.csv"), "labels", label_set="value")
    having = {
        path.relative_to(settings.store_path / "lake").parts[0]
        for path in settings.store_path.rglob("*")
        if path.is_file() and _says(path, who)
    }
    assert having == {"users", "quarantine"}
    assert who.encode() not in (settings.root / "segadmin.db").read_bytes()


def _says(path: Path, who: str) -> bool:
    if path.suffix == ".parquet":
        return who in pl.read_parquet(path).write_json()
    return who.encode() in path.read_bytes()
