"""Which files may have rows of a user: never is one left out that has."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from segadmin.storage import file_keys
from segadmin.storage.file_keys import may_have

KEYS = [-(2**63), -5, -1, 0, 7, 2**40 + 7, 2**63 - 1]


def test_a_file_may_have_all_keys_that_are_in_it(tmp_path: Path) -> None:
    path = str(tmp_path / "rows[1].parquet")
    pl.DataFrame({"user_key": [*KEYS, *KEYS], "segment": "high"}).write_parquet(path)
    assert all(may_have(path, key) for key in KEYS)
    assert not any(may_have(path, key) for key in (1, 6, -2, 2**32 - 2))


def test_an_empty_file_has_none(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.parquet")
    pl.DataFrame(schema={"user_key": pl.Int64}).write_parquet(path)
    assert not may_have(path, 0)


def test_a_large_file_is_not_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_keys, "_MAX_ROWS", 3)
    path = str(tmp_path / "rows.parquet")
    pl.DataFrame({"user_key": KEYS}).write_parquet(path)
    assert may_have(path, 1)
