"""Delta and Parquet as other engines write them; each test names the report of what went wrong elsewhere."""

from __future__ import annotations

import json
import struct
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from segadmin.errors import DataError
from segadmin.events.cells import readable
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_plugins.sources.delta import Delta
from segadmin_plugins.sources.parquet import Parquet
from segadmin_plugins.sources.parquet_schema import fixed_length_columns

EVENTS = pl.DataFrame({"user": ["u1", "u2", "u3"], "kind": ["view"] * 3, "item": ["a"] * 3, "at": ["2024-03-01"] * 3})
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def _encoded(content: bytes) -> str:
    text = ""
    for place in range(0, len(content), 4):
        number, signs = int.from_bytes(content[place : place + 4], "big"), ""
        for _ in range(5):
            number, digit = divmod(number, 85)
            signs = _Z85[digit] + signs
        text += signs
    return text


def _deletion_vector(rows: list[int]) -> dict[str, object]:
    """Return what Spark writes into the log for deleted rows: a Roaring bitmap, as the Delta protocol has it."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + b"".join(struct.pack("<H", row) for row in rows)
    content = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    text = _encoded(content + bytes(-len(content) % 4))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content), "cardinality": len(rows)}


def _with_features(folder: Path, features: list[str], **add: object) -> None:
    """Make the table at ``folder`` one that needs reader features, and change its only file's entry in the log."""
    log = folder / "_delta_log" / "00000000000000000000.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            versions = {"minReaderVersion": 3, "minWriterVersion": 7}
            action["protocol"] = {**versions, "readerFeatures": features, "writerFeatures": features}
        if "add" in action:
            action["add"].update(add)
    log.write_text("\n".join(map(json.dumps, actions)))


def test_rows_that_a_deletion_vector_deletes_are_gone(settings: Settings, tmp_path: Path) -> None:
    """ClickHouse/ClickHouse 115043, trinodb/trino 21737: readers gave deleted rows back, or lost others."""
    write_deltalake(str(tmp_path / "t"), EVENTS)
    _with_features(tmp_path / "t", ["deletionVectors"], deletionVector=_deletion_vector([1]))
    done, _ = import_file(settings, ImportRequest("events", str(tmp_path / "t")))
    assert (done.rows_read, done.rows_kept) == (2, 2)
    assert sorted(Lake.of(settings).scan("users").collect()["user"]) == ["u1", "u3"]


def test_a_table_with_features_that_are_not_read_is_refused(tmp_path: Path) -> None:
    """pola-rs/polars 12217: columns have other names in the files than in the table."""
    write_deltalake(str(tmp_path / "t"), EVENTS)
    _with_features(tmp_path / "t", ["columnMapping"])
    with pytest.raises(DataError, match=r"The Delta table .*/t cannot be read: .*columnMapping"):
        list(Delta().chunks(str(tmp_path / "t"), 1000))


def test_times_beyond_those_of_nanoseconds_are_no_others(settings: Settings, tmp_path: Path) -> None:
    """pola-rs/polars 29184, apache/datafusion 1360: Spark's INT96 wrapped round, so that the year 9999 was 1816."""
    years = (2024, 9999, 2590, 1001)
    times = pa.array([datetime(year, 3, 1, 12) for year in years], pa.timestamp("us"))
    users = [f"u{year}" for year in years]
    table = pa.table({"user": users, "kind": ["view"] * 4, "item": ["a"] * 4, "at": times})
    path = tmp_path / "e.parquet"
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False)
    done, _ = import_file(settings, ImportRequest("events", str(path)))
    assert done.reasons == {"future_time": 3}
    events = Lake.of(settings).scan("events").collect()
    assert events["at"].dt.strftime("%F %T").to_list() == ["2024-03-01 12:00:00"]


def test_nanoseconds_are_cut_to_microseconds(settings: Settings, tmp_path: Path) -> None:
    """ray-project/deltacat 73: what pandas writes could not be cast."""
    at = pa.array([1_709_294_400_123_456_789], pa.timestamp("ns", "Asia/Shanghai"))
    pq.write_table(pa.table({"user": ["u1"], "kind": ["view"], "item": ["a"], "at": at}), tmp_path / "e.parquet")
    import_file(settings, ImportRequest("events", str(tmp_path / "e.parquet")))
    assert Lake.of(settings).scan("events").collect()["at"].dt.timestamp("us").to_list() == [1_709_294_400_123_456]


def test_uuids_are_text(settings: Settings, tmp_path: Path) -> None:
    """apache/spark 55684, apache/parquet-java 1641: UUIDs could not be read, or came as bytes.

    The second one is made of letters, and was taken for the text that old writers leave unmarked.
    """
    uuids = ["00112233-4455-6677-8899-aabbccddeeff", "61626364-6566-6768-696a-6b6c6d6e6f70", None]
    content = [None if value is None else UUID(value).bytes for value in uuids]
    columns = {
        "nested": pa.array([{"id": value} for value in content], pa.struct({"id": pa.binary(16)})),
        "user": pa.array(content, pa.uuid()),
        "item": pa.array([b"abcd", b"\x00\xff\x00\xff", None], pa.binary(4)),
        "text": pa.array([b"good", "好".encode(), None], pa.binary()),
        "price": pa.array([Decimal("1.50"), None, None], pa.decimal128(30, 2)),
        "many": pa.array([[value] for value in content], pa.list_(pa.binary(16))),
        **dict.fromkeys(map(str, range(20)), pa.array([None] * 3, pa.int64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "e.parquet", store_schema=False)
    [chunk] = Parquet().chunks(str(tmp_path / "e.parquet"), 1000)
    assert chunk["user"].to_list() == uuids
    assert chunk["item"].to_list() == ["61626364", "00ff00ff", None]
    assert readable(chunk)["text"].to_list() == ["good", "好", None]
    assert chunk["price"].to_list() == [Decimal("1.50"), None, None]
    rows = pa.table({"user": columns["user"], "kind": ["view"] * 3, "item": ["a"] * 3, "at": ["2024-03-01"] * 3})
    pq.write_table(rows, tmp_path / "e.parquet")
    done, _ = import_file(settings, ImportRequest("events", str(tmp_path / "e.parquet")))
    assert done.reasons == {"missing_user": 1}
    assert sorted(Lake.of(settings).scan("users").collect()["user"]) == uuids[:2]


@pytest.mark.parametrize("size", [0, 4, 12, 100, 200])
def test_a_damaged_footer_has_no_uuids(tmp_path: Path, size: int) -> None:
    pq.write_table(pa.table({"user": pa.array([bytes(16)], pa.uuid())}), tmp_path / "e.parquet")
    assert fixed_length_columns(tmp_path / "e.parquet") == {"user": True}
    content = (tmp_path / "e.parquet").read_bytes()
    (tmp_path / "e.parquet").write_bytes(content[:size] + content[-8:])
    assert fixed_length_columns(tmp_path / "e.parquet") == {}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """pola-rs/polars 27393: one of them was dropped without a word."""
    table = pa.Table.from_arrays([pa.array(["u1"]), pa.array(["u2"])], names=["user", "user"])
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"e\.parquet cannot be read as Parquet: .*'user' has more than one"):
        list(Parquet().chunks(str(tmp_path / "e.parquet"), 1000))


def test_columns_that_differ_only_in_case_are_two(tmp_path: Path) -> None:
    """duckdb/duckdb 13053: ``user`` and ``USER`` could not be read."""
    pq.write_table(pa.table({"user": ["u1"], "USER": ["u2"]}), tmp_path / "e.parquet")
    [chunk] = Parquet().chunks(str(tmp_path / "e.parquet"), 1000)
    assert chunk.to_dicts() == [{"user": "u1", "USER": "u2"}]
