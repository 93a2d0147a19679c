"""Reading tables that were read before."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

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
