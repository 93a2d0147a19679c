"""Commits that have a name: of writers that do not know of each other, one writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from segadmin.errors import StorageError
from segadmin.events.lake import Commit, Lake

ROWS = pl.DataFrame({"job_id": [1], "user_key": [2]})


@pytest.mark.parametrize("attempt", range(6))
def test_of_writers_at_once_one_writes(tmp_path: Path, attempt: int) -> None:
    lake = Lake(tmp_path)
    lake.append("trainings", ROWS)

    def write(_: int) -> bool:
        try:
            return lake.append("trainings", ROWS, Commit("step", 1))
        except StorageError:  # another one was first; its step is tried again
            return False

    with ThreadPoolExecutor(6) as writers:
        assert sum(writers.map(write, range(12))) == 1
    assert not write(0)
    assert lake.scan("trainings").collect().height == 2
