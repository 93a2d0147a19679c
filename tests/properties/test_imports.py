"""What an import stores is what an independent reader reads, value for value, or in quarantine for a true reason.

``make test`` tries some files of each format; ``make test-slow`` 2,000 in all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping, Rules
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from tests.properties.files import FIELDS, ROWS, WRITERS, Row, Writer

_MAPPING = Mapping(timezone="Asia/Shanghai", decimal=".", rules=Rules(clean_text=False, mask_personal=False))
_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def check(tmp_path_factory: pytest.TempPathFactory, writer: Writer, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("import")
    written = writer(folder, rows)
    settings = Settings(home=folder / "home", buckets=2)
    request = ImportRequest("events", written.where, _MAPPING, source=written.source, options=written.options)
    done, _ = import_file(settings, request)
    expected = written.expected
    assert (done.rows_read, done.rows_kept) == (expected.rows, len(expected.events))
    lake = Lake.of(settings)
    stored = lake.scan("events").join(lake.scan("users").select("user_key", "user"), on="user_key").select(FIELDS)
    assert Counter(stored.collect().iter_rows()) == Counter(expected.events)
    _check_reasons(lake.scan("quarantine").collect(), expected.bad)


def _check_reasons(quarantined: pl.DataFrame, expected: list[tuple[int | None, frozenset[str]]]) -> None:
    assert quarantined.height == len(expected)
    rows = quarantined.sort("line").to_dicts()
    for row, (line, reasons) in zip(rows, expected, strict=True):
        assert row["reason"] in reasons, row
        assert line is None or row["line"] == line, row


@pytest.mark.parametrize("form", WRITERS)
def test_some_files(tmp_path_factory: pytest.TempPathFactory, form: str) -> None:
    @hypothesis_settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=_QUIET)
    @given(WRITERS[form], ROWS)
    def try_it(writer: Writer, rows: list[Row]) -> None:
        check(tmp_path_factory, writer, rows)

    try_it()


@pytest.mark.long  # it tries other files each time: to be looked at by people
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("form", WRITERS)
def test_four_hundred_files(tmp_path_factory: pytest.TempPathFactory, form: str) -> None:
    tried: list[Any] = []

    @hypothesis_settings(max_examples=400, deadline=None, suppress_health_check=_QUIET)
    @given(WRITERS[form], ROWS, st.just(None))
    def try_it(writer: Writer, rows: list[Row], _: None) -> None:
        tried.append(None)
        check(tmp_path_factory, writer, rows)

    try_it()
    assert len(tried) >= 400
