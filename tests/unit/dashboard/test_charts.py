"""Charts: where marks lie, and what a figure says without its picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from segadmin.evaluation.metrics import ReliabilityBin
from segadmin.training.study import Trial
from segadmin_api.dashboard.charts import (
    Plot,
    Series,
    events_by_day,
    line_chart,
    reliability_diagram,
    search_chart,
)
from segadmin_api.dashboard.curves import learning_curves
from segadmin_api.dashboard.reader import Reader
from tests.unit.dashboard.examples import a_job, a_profile

HOSTILE = """"/><script>'&"""


def trial(number: int, value: float | None) -> Trial:
    return Trial(trial=number, state="complete" if value else "pruned", value=value, options={}, seconds=1)


CHARTS: dict[str, Callable[[], Markup]] = {
    "lines": lambda: line_chart(HOSTILE, [Series(HOSTILE, [(1, 0.9), (2, 0.8)])], best="min"),
    "search": lambda: search_chart([trial(1, 0.9), trial(2, None), trial(3, 0.8)]),
    "reliability": lambda: reliability_diagram([ReliabilityBin(0.5, 0.6, 40, 0.55, 0.5)]),
    "days": lambda: events_by_day(a_profile("milk")),
}


def figure(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(f"{chart}")


@pytest.mark.parametrize("name", CHARTS)
def test_a_figure_is_well_formed_and_described(name: str) -> None:
    picture = figure(CHARTS[name]()).find("svg")
    assert picture is not None
    assert picture.get("role") == "img"
    assert [part.tag for part in picture][:2] == ["title", "desc"]
    assert all(part.text for part in picture[:2])


def test_y_goes_upwards_and_values_stay_inside() -> None:
    plot = Plot(100, 50, (0, 10), (0, 1), inset=5)
    assert plot.place(0, 0) == (5, 45)
    assert plot.place(10, 1) == (95, 5)
    assert Plot(100, 50, (3, 3), (1, 1)).place(3, 1) == (50, 25), "of one value only, it is in the middle"


def test_the_best_point_is_marked_and_named() -> None:
    points = [(1.0, 0.9), (2.0, 0.5), (3.0, 0.7)]
    drawn = figure(line_chart("loss", [Series("validation", points)], best="min"))
    caption = drawn.find("figcaption/small")
    assert caption is not None and caption.text == "best 0.5000 at 2, last 0.7000"
    *dots, dispatch = drawn.iter("circle")
    assert [dot.findtext("title") for dot in dots] == [
        "validation 1: 0.9000",
        "validation 2: 0.5000",
        "validation 3: 0.7000",
    ]
    assert (dispatch.get("cx"), dispatch.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))


def test_a_nearly_constant_series_looks_flat() -> None:
    heights = [
        float(dot.get("cy", 0))
        for dot in figure(line_chart("loss", [Series("v", [(1, 0.9), (2, 0.8999)])])).iter("circle")
    ]
    assert abs(heights[0] - heights[1]) < 3


def test_the_first_series_lies_in_front() -> None:
    two = [Series("validation", [(1, 0.9), (2, 0.8)]), Series("training", [(1, 0.7), (2, 0.6)])]
    drawn = figure(line_chart("loss", two))
    names = [(dot.findtext("title") or "").split()[0] for dot in drawn.iter("circle")]
    assert names == ["training", "training", "validation", "validation"]
    assert ["".join(key.itertext()).strip() for key in drawn.iter("span")] == ["validation", "training"]


def test_a_search_shows_complete_trials_and_the_best_so_far() -> None:
    drawn = figure(search_chart([trial(1, 0.9), trial(2, 0.95), trial(3, None), trial(4, 0.8)]))
    assert len(list(drawn.iter("circle"))) == 3
    [line] = drawn.iter("polyline")
    heights = [float(place.split(",")[1]) for place in line.get("points", "").split()]
    assert heights[0] == heights[1] < heights[2], "a worse trial leaves the best as it was; lower is further down"
    assert search_chart([trial(1, None)]) == ""


def test_bars_of_a_day_are_stacked() -> None:
    counts = {date(2026, 1, 1): {"view": 6, "purchase": 2}, date(2026, 1, 2): {"view": 4}}
    drawn = figure(events_by_day(a_profile("milk").model_copy(update={"by_day": counts})))
    bars = [bar for bar in drawn.iter("rect") if float(bar.get("height", 0))]
    view, purchase, later = ([float(bar.get(name, 0)) for name in ("y", "height")] for bar in bars)
    assert view == [50, 150] and purchase == [0, 50] and later == [100, 100]
    assert [bar.findtext("title") for bar in bars][1] == "2026-01-01: purchase 2"


@pytest.mark.parametrize(("days", "bars"), [(200, 200), (201, 29), (1_401, 47)])
def test_many_days_are_put_together(days: int, bars: int) -> None:
    first = date(2020, 1, 1)
    counts = {first + timedelta(days=n): {"view": 1} for n in range(days)}
    long = a_profile("milk").model_copy(update={"by_day": counts, "first": first, "last": max(counts)})
    assert len([bar for bar in figure(events_by_day(long)).iter("rect") if float(bar.get("height", 0))]) == bars


def test_a_bar_as_high_as_its_accuracy() -> None:
    drawn = figure(reliability_diagram([ReliabilityBin(0.5, 0.6, 40, 0.55, 0.5)]))
    [bar] = drawn.iter("rect")
    assert (float(bar.get("x", 0)), float(bar.get("y", 0)), float(bar.get("height", 0))) == (150, 150, 150)
    assert bar.findtext("title") == "40 users, probability about 55%, accuracy 50.0%"


def test_the_words_of_a_chart_are_in_the_language_of_the_reader() -> None:
    zh = Reader(language="zh")
    charts = [
        search_chart([trial(1, 0.9), trial(2, None), trial(3, 0.8)], zh),
        reliability_diagram([ReliabilityBin(0.5, 0.6, 40, 0.55, 0.5)], zh),
        events_by_day(a_profile("milk"), zh),
        line_chart("损失", [Series("验证", [(1, 0.9), (2, 0.8)])], best="min", unit="步", reader=zh),
        *learning_curves(
            a_job("x").steps[0].model_copy(update={"stage": "训练", "curve": [[1, {"training_loss": 1.0}]]}), zh
        ),
    ]
    assert len(charts) == 5
    for chart in charts:
        words = " ".join(figure(chart).itertext())
        assert not re.findall(r"[A-Za-z]{2,}", words), words
