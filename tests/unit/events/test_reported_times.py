"""Times as programs write them that people reported to other projects; each test names the report."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from segadmin.events.times import read_time


def read(*cells: str, zone: str = "UTC") -> list[datetime | None]:
    times = pl.DataFrame({"at": pl.Series(cells, dtype=pl.String)}).select(read_time(pl.col("at"), zone))
    return times.to_series().to_list()


def test_a_comma_before_the_fraction_of_a_second() -> None:
    """dateutil/dateutil 28, moment/moment 2580: the sign that ISO 8601 prefers, and Python's logs have."""
    moment = datetime(2024, 3, 1, 9, 0, 0, 123_000, UTC)
    assert read("2024-03-01 09:00:00,123", "2024-03-01T17:00:00,123+0800") == [moment, moment]


def test_the_zone_that_java_writes_behind_an_offset() -> None:
    """moment/moment 4159, elastic/elasticsearch 130054: ``ZonedDateTime.toString()``."""
    moment = datetime(2024, 3, 1, 1, tzinfo=UTC)
    assert read("2024-03-01T09:00+08:00[Asia/Shanghai]", "2024-03-01T01:00:00Z[Etc/GMT+0]") == [moment, moment]
    assert read("2024-03-01T09:00[Asia/Shanghai]") == [None]


def test_nanoseconds() -> None:
    """Netflix/atlas 1673, open-telemetry/opentelemetry-specification 1049."""
    assert read("1709294400123456789") == [datetime(2024, 3, 1, 12, 0, 0, 123_456, UTC)]


@pytest.mark.parametrize(
    "cell",
    [
        "45383",  # days since 1899, as spreadsheets count: dbgate/dbgate 168, ribbondz/rsv 8
        "45383.5",
        "638400000000000000",  # what .NET counts since the year 1
        "133530000000000000",  # what Windows counts since 1601
        "20240301093000123",
        "0000-00-00 00:00:00",  # MySQL's zero date: airbytehq/airbyte 3931
        "2024-03-01 24:00:01",
        "2024-03-01 09:00 PM",
        "12:00,5",
    ],
)
def test_what_is_no_time_is_not_taken_for_one(cell: str) -> None:
    assert read(cell) == [None]


def test_marks_of_direction_around_a_time() -> None:
    """What is pasted from spreadsheets and chats has them."""
    assert read("\u200e2024-03-01\u200f", "\ufeff2024-03-01") == [datetime(2024, 3, 1, tzinfo=UTC)] * 2
