"""Times in a format that the mapping names, and the formats that are proposed for times that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.errors import ConfigurationError
from segadmin.events.clean import clean
from segadmin.events.hints import about_times
from segadmin.events.mapping import Mapping
from segadmin.events.time_formats import fitting_formats, polars_format
from segadmin.events.times import read_time

EVENT = {"user": "u1", "kind": "view", "item": "a"}


def at(written: str, *times: str, timezone: str = "UTC") -> datetime | None:
    mapping = Mapping(times=times, timezone=timezone)
    moments = clean(pl.DataFrame([EVENT | {"at": written}]), "events", mapping).good["at"].to_list()
    return moments[0] if moments else None


@pytest.mark.parametrize(
    ("written", "form", "moment"),
    [
        ("12/1/2010 8:26", "%m/%d/%Y %H:%M", datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        ("1.12.2010", "%d.%m.%Y", datetime(2010, 12, 1, tzinfo=UTC)),
        ("1-Dec-10 8:26 PM", "%d-%b-%y %I:%M %p", datetime(2010, 12, 1, 20, 26, tzinfo=UTC)),
        ("10/Oct/2000:13:55:36 -0700", "%d/%b/%Y:%H:%M:%S %z", datetime(2000, 10, 10, 20, 55, 36, tzinfo=UTC)),
        ("2010-12-01 08.26.00,250", "%Y-%m-%d %H.%M.%S,%f", datetime(2010, 12, 1, 8, 26, 0, 250_000, tzinfo=UTC)),
        ("01.12.2010 08:26:00.25", "%d.%m.%Y %H:%M:%S.%f", datetime(2010, 12, 1, 8, 26, 0, 250_000, tzinfo=UTC)),
        ("2010-12-01 08h", "%Y-%m-%d %Hh", datetime(2010, 12, 1, 8, tzinfo=UTC)),
    ],
)
def test_a_format_is_read(written: str, form: str, moment: datetime) -> None:
    assert at(written) is None
    assert at(written, form) == moment


def test_a_clock_of_the_mappings_zone() -> None:
    assert at("1/12/2010 08:00", "%d/%m/%Y %H:%M", timezone="Asia/Shanghai") == datetime(2010, 12, 1, tzinfo=UTC)


def test_several_formats_and_no_other() -> None:
    forms = ("%d/%m/%Y %H:%M", "%d/%m/%Y")
    assert at("1/12/2010", *forms) == datetime(2010, 12, 1, tzinfo=UTC)
    assert at("2/12/2010 10:00", *forms) == datetime(2010, 12, 2, 10, tzinfo=UTC)
    # 2010-11-12 may be the 12th or the 11th: who names a format wants no other one.
    assert at("2010-11-12", *forms) is None


def test_every_time_field_has_the_format() -> None:
    row = {"user": "u1", "segment": "a", "observed_from": "1/2/2026", "as_of": "3/2/2026", "outcome_until": "4/2/2026"}
    good = clean(pl.DataFrame([row]), "labels", Mapping(times=("%d/%m/%Y",))).good
    moments = good.select("observed_from", "as_of", "outcome_until").row(0)
    assert moments == tuple(datetime(2026, 2, day, tzinfo=UTC) for day in (1, 3, 4))


def test_one_format_or_a_list_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    for text, times in (('"%d.%m.%Y"', ("%d.%m.%Y",)), ('["%d.%m.%Y", "%Y-%j"]', ("%d.%m.%Y", "%Y-%j"))):
        path.write_text(f"times = {text}\n")
        assert Mapping.read(path).times == times


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("%Q", "has %Q, which strptime does not read"),
        ("%d.%m.", "gives no day, month and year"),
        ("DD.MM.YYYY", "gives no day, month and year"),
        ("%d.%m.%Y %", "has %, which"),
    ],
)
def test_a_format_that_cannot_be_used(tmp_path: Path, form: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(f'times = "{form}"\n')
    with pytest.raises(ConfigurationError, match=words):
        Mapping.read(tmp_path / "m.toml")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["12/1/2010 8:26", "12/31/2010 17:05"], "--times '%m/%d/%Y %H:%M'"),
        (["13.12.2010"], "--times %d.%m.%Y"),
        (["1/2/2010 8:26"], "--times '%m/%d/%Y %H:%M' or --times '%d/%m/%Y %H:%M'"),
        (["3-Jan-11"], "--times %d-%b-%y"),
        (["Sat, 01 Jan 2011 08:00:00 -0500"], "--times '%a, %d %b %Y %H:%M:%S %z'"),
        (["noon"], "--times '%d.%m.%Y %H:%M'. Without it these are read: 2026-01-31"),
        (["40513.35"], "look like a spreadsheet's days since 1899. Show the column as dates"),
        (["13/1/2010", "1/13/2010"], "Without it these are read"),
        ([], "Without it these are read"),
    ],
)
def test_proposed_formats(cells: list[str], words: str) -> None:
    advice = about_times(cells)
    assert words in advice
    assert ("Say which" in advice) == (" or " in words)


_FORMS = ("%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d-%b-%Y", "%B %d, %Y %I:%M %p", "%d/%m/%y", "%a %d %b %Y %H:%M %z")


@hypothesis_settings(deadline=None)
@given(st.datetimes(datetime(1991, 1, 1), datetime(2039, 1, 1)), st.sampled_from(_FORMS))
def test_proposed_formats_read_as_strptime_does(moment: datetime, form: str) -> None:
    written = moment.replace(tzinfo=UTC).strftime(form)
    proposed = fitting_formats([written])
    assert form in proposed
    for time_format in proposed:
        assert polars_format(time_format)
        expected = datetime.strptime(written, time_format)
        parsed = pl.DataFrame({"at": [written]}).select(read_time(pl.col("at"), "UTC", [time_format])).item()
        assert parsed == (expected if expected.tzinfo else expected.replace(tzinfo=UTC))
