"""Reading tables that were read before."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from segadmin.storage import delta_tables
from segadmin.storage.lake import Lake
from segadmin.storage.schema import SCHEMAS


def user(name: str) -> pl.DataFrame:
    return pl.DataFrame({"bucket": [0], "user_key": [1], "user": [name]}, schema=SCHEMAS["users"])


def test_a_table_that_comes_in_the_place_of_another_one_is_read(tmp_path: Path) -> None:
    lake, versions = Lake(tmp_path), set()
    for name in ("first", "second"):
        lake.append("users", user(name))
        versions.add(lake.version("users"))
        assert lake.scan("users").collect()["user"].to_list() == [name]
        shutil.rmtree(tmp_path / "users")
    assert len(versions) == 1
    assert lake.scan("users").collect().is_empty()


def test_a_table_is_read_after_its_history_is_dropped(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append("users", user("first"))
    assert lake.scan("users").collect().height == 1
    lake.append("users", user("second"))
    lake.delete("users", "user = 'first'")
    lake.drop_history("users")
    assert lake.scan("users").collect()["user"].to_list() == ["second"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_table_is_read_whose_history_is_dropped_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The history is dropped after its log was listed, before or after the status of the newest file is read."""
    lake = Lake(tmp_path)
    lake.append("users", user("first"))
    lake.append("users", user("second"))
    newest, status_of = tmp_path / "users" / "_delta_log" / f"{lake.version('users'):020}.json", Path.stat
    dropped = []

    def drop_history() -> None:
        monkeypatch.undo()
        Lake(tmp_path).drop_history("users")
        dropped.append(not newest.exists())

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == newest and moment == "before":
            drop_history()
        status = status_of(path, follow_symlinks=follow_symlinks)
        if path == newest and moment == "after":
            drop_history()
        return status

    monkeypatch.setattr(Path, "stat", stat)
    rows = lake.scan("users").collect()
    assert dropped == [True]
    assert sorted(rows["user"]) == ["first", "second"]


@pytest.mark.parametrize("folder", ["lake", "a=b", "[x]"])
def test_rows_of_a_partition_are_read_whatever_its_value(tmp_path: Path, folder: str) -> None:
    lake = Lake(tmp_path / folder)
    names = ["", "a b", "a=b", "50%", "%41", "a'b", 'a"b', "a/b", "*", "中文"]
    for number, name in enumerate(names):
        nothing = pl.DataFrame([dict.fromkeys(SCHEMAS["labels"])], schema=SCHEMAS["labels"])
        lake.append("labels", nothing.with_columns(user_key=pl.lit(number), label_set=pl.lit(name)))
    for number, name in enumerate(names):
        assert lake.scan("labels", label_set=name).collect()["user_key"].to_list() == [number]
    assert lake.scan("labels", label_set="another").collect().is_empty()


def test_a_bucket_is_read_of_few_and_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, nothing = Lake(tmp_path), pl.DataFrame([dict.fromkeys(SCHEMAS["events"])], schema=SCHEMAS["events"])
    for number in range(6):
        at = pl.lit(datetime(2026, 1, 1 + number, tzinfo=UTC))
        events = [nothing.with_columns(bucket=pl.lit(bucket), event_id=pl.lit(number), at=at) for bucket in (1, 2)]
        lake.append("events", pl.concat(events))
    few = lake.scan("events", buckets=[2]).sort("event_id").collect()
    assert few["event_id"].to_list() == list(range(6))
    monkeypatch.setattr(delta_tables, "_FEW_FILES", 2)
    many = lake.scan("events", buckets=[2]).sort("event_id").collect()
    assert few.equals(many)
    assert few.schema == many.schema == SCHEMAS["events"]


def test_the_files_of_an_open_table_are_those_of_its_version(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append("users", user("first"))
    table = delta_tables.open_table(tmp_path / "users")
    before = table.file_uris()
    lake.append("users", user("second"))
    assert table.file_uris() == before
    table.update_incremental()
    assert set(before) < set(table.file_uris())
