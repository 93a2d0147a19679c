"""Times in any mixture of forms are read as each is alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.events.times import read_time
from segadmin.storage.schema import time_literal

_INDIA = timezone(timedelta(hours=5, minutes=30))


def _read_by_python(cell: str | None, zone: ZoneInfo) -> datetime | None:
    if cell is None:
        return None
    text = cell.strip()
    if text.isdigit() and len(text) == 10:
        return datetime.fromtimestamp(int(text), UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)


_TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1))
_CELLS = st.one_of(
    _TIMES.map(lambda time: f"{time:%Y-%m-%d %H:%M:%S.%f}"),
    _TIMES.map(lambda time: f"{time:%Y-%m-%d %H:%M:%S}"),
    _TIMES.map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}"),
    _TIMES.map(lambda time: f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"),
    _TIMES.map(lambda time: f"{time:%Y-%m-%dT%H:%M}"),
    _TIMES.map(lambda time: f"{time:%Y-%m-%d}"),
    _TIMES.map(lambda time: time.replace(tzinfo=_INDIA).isoformat()),
    _TIMES.map(lambda time: str(int(time.timestamp()))).filter(lambda text: len(text) == 10),
    st.sampled_from(["x", "2026-13-01", "2026-01-31T08:30:00ZZ", " 2026-01-31T08:30:00Z", None]),
)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
@given(cells=st.lists(_CELLS, min_size=1, max_size=20))
def test_any_mixture_of_forms(zone: str, cells: list[str | None]) -> None:
    read = pl.DataFrame({"at": pl.Series(cells, dtype=pl.String)}).select(read_time(pl.col("at"), zone))
    assert read["at"].to_list() == [_read_by_python(cell, ZoneInfo(zone)) for cell in cells]


@given(moment=_TIMES, zone=st.sampled_from([UTC, _INDIA, ZoneInfo("Asia/Shanghai")]))
def test_a_literal_is_the_moment_that_it_is_made_of(moment: datetime, zone: tzinfo) -> None:
    moment = (moment - timedelta(days=14_000)).replace(tzinfo=zone)  # some are before 1970
    assert pl.select(time_literal(moment)).item() == moment
