"""Charts of segments: where marks lie, and what a picture says without being seen."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from segadmin.snapshots.segment_calibration import CalibrationBin, SegmentCalibration
from segadmin_api.dashboard.interval_charts import (
    Bar,
    calibration_chart,
    histogram,
    hours_chart,
    interval_chart,
    segments_chart,
)

HOSTILE = """"/><script>'&"""
CALIBRATION = SegmentCalibration(40, 0.05, (CalibrationBin(0.5, 0.6, 40, 0.55, 0.5, 0.35, 0.65),))
CHARTS: dict[str, Callable[[], Markup]] = {
    "intervals": lambda: interval_chart(HOSTILE, [Bar(HOSTILE, 2, 1.5, 3), Bar("few", 1, None, None)], HOSTILE),
    "hours": lambda: hours_chart(HOSTILE, [(HOSTILE, 0.2, 0.1)], (HOSTILE, "all")),
    "histogram": lambda: histogram(HOSTILE, [0, 3, 5], HOSTILE),
    "calibration": lambda: calibration_chart(HOSTILE, CALIBRATION, HOSTILE),
    "segments": lambda: segments_chart(HOSTILE, [(HOSTILE, 0, 0.5, HOSTILE), ("b", 0.5, 1, "b")], ("1", "2")),
}


def parsed(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(f"<figure>{chart}</figure>")


@pytest.mark.parametrize("name", CHARTS)
def test_a_picture_is_well_formed_and_described(name: str) -> None:
    picture = parsed(CHARTS[name]()).find("svg")
    assert picture is not None
    assert picture.get("role") == "img"
    assert [part.tag for part in picture][:2] == ["title", "desc"]
    assert all(part.text for part in picture[:2])
    assert not list(picture.iter("script"))


def test_a_dot_lies_on_its_interval_beside_the_reference() -> None:
    drawn = parsed(interval_chart("lift", [Bar("milk", 2, 1.5, 3)], "described"))
    [dot] = drawn.iter("circle")
    reference, whisker = (path.get("d", "")[1:].replace("L", " ").split() for path in drawn.iter("path"))
    low, high = float(whisker[0]), float(whisker[2])
    assert float(reference[0]) < low < float(dot.get("cx", 0)) < high
    assert float(whisker[1]) == float(dot.get("cy", 0))
    assert dot.findtext("title") == "milk: 2.00 [1.50, 3.00]"


def test_a_bin_is_as_high_as_it_has_users() -> None:
    drawn = parsed(histogram("users", [0, 5, 10], "described"))
    heights = [float(bar.get("height", 0)) for bar in drawn.iter("rect")]
    assert heights == [0, pytest.approx(heights[2] / 2), 150]


def test_runs_in_a_segment_join_each_other() -> None:
    drawn = parsed(segments_chart("x", [("low", 0, 0.4, "low"), ("high", 0.4, 1, "high")], ("1", "2")))
    low, high = ((float(bar.get("x", 0)), float(bar.get("width", 0))) for bar in drawn.iter("rect"))
    assert low[0] + low[1] == pytest.approx(high[0], abs=0.1)
    assert high[0] + high[1] == pytest.approx(320, abs=0.1)
