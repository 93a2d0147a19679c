"""Pictures of reports: where marks lie, and that they can be read without being seen."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from segadmin.snapshots.trend import Trend
from segadmin_api.dashboard.figures import trend_data
from segadmin_api.dashboard.pictures import NARROW, WIDTH, Bar, Line, bars, lines, sankey, ticks_to
from segadmin_api.dashboard.svg import as_file, shortened, width_of

HOSTILE = """"/><script>'&"""
SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(f"{picture}")


def a_sankey(name: str = "low") -> Markup:
    sides = [(name, "#0072b2"), ("high", "#e69f00")]
    return sankey("movement", sides, sides, {(0, 0): (60, "60"), (0, 1): (20, "20"), (1, 1): (120, "120")})


def a_plot(name: str = "low", last: float | None = 8) -> Markup:
    dates, texts = ["May 1", "May 8", "May 15"], ["2", "–", "8"]
    return lines("trend", dates, [0, 7, 14], [Line(name, [2, None, last], texts, "#0072b2")])


@pytest.mark.parametrize("picture", [bars("sizes", [Bar(HOSTILE, 3, "3", "#000")]), a_plot(HOSTILE), a_sankey(HOSTILE)])
def test_a_picture_is_well_formed_and_described(picture: Markup) -> None:
    for root in (drawn(picture), ElementTree.fromstring(as_file(picture).encode())):
        assert root.get("role") == "img"
        assert [part.tag for part in root][:2] == [f"{SVG}title", f"{SVG}desc"]
        assert HOSTILE in (root[1].text or "")


def test_bars_are_as_long_as_their_values() -> None:
    rows = [Bar("one", 10, "10 (20 %)", "#111"), Bar("two", 40, "40 (80 %)", "#222"), Bar("none", 0, "0", "#333")]
    root = drawn(bars("sizes", rows))
    one, two, none = (float(each.get("width", 0)) for each in root.iter(f"{SVG}rect"))
    assert two == pytest.approx(4 * one, rel=0.01)
    assert none == 1, "still visible"
    assert {"10 (20 %)", "40 (80 %)"} <= {each.text for each in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("width", [WIDTH, NARROW])
@pytest.mark.parametrize("name", ["REFRGRATD JUICES/DRNKS", "WWWWWWWWWWWWWWWWWWWW", "高价值但最近没有购买的老用户群"])
def test_long_names_of_bars_are_whole_and_in_the_picture(name: str, width: float) -> None:
    root = drawn(bars("lift", [Bar(name, 2, "×2.00", "#111"), Bar("x", 1, "×1.00", "#222")], width=width))
    assert root.get("viewBox", "").split()[2] == f"{width:g}"
    label = next(each for each in root.iter(f"{SVG}text") if "".join(each.itertext()).endswith(name))
    begin = float(label.get("x", 0))
    end = begin + width_of(name) if label.get("text-anchor") == "start" else begin
    assert end - width_of(name) >= 0 and end <= width


def test_a_trend_has_a_point_for_each_moment_in_order() -> None:
    first, second = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)
    trend = Trend([1, 2, 3, 4], [first, second, second, first], {"low": [1, 2, 3, 4], "high": [None, 5, 6, 7]})
    assert trend.by_moment() == Trend([4, 3], [first, second], {"low": [4, 3], "high": [7, 6]})
    assert trend_data(Trend([1, 2], [first, first], {"low": [1, 2]})) is None


def test_the_end_of_a_line_has_its_name_and_its_number() -> None:
    root = drawn(a_plot())
    words = ["".join(each.itertext()).removeprefix("low") for each in root.iter(f"{SVG}text")]
    assert "low 8" in words
    assert {"May 1", "May 15"} <= set(words)
    assert not list(root.iter(f"{SVG}polyline")), "two points with a gap between them are no line"
    assert len(list(root.iter(f"{SVG}circle"))) == 2
    assert "low: May 1 2, May 15 8" in (root[1].text or "")


def test_a_segment_that_is_gone_has_no_label_at_the_end() -> None:
    words = ["".join(each.itertext()) for each in drawn(a_plot(last=None)).iter(f"{SVG}text")]
    assert not [word for word in words if "low" in word]


def test_bands_are_as_thick_as_the_users_who_moved() -> None:
    root = drawn(a_sankey())
    heights = [float(each.get("height", 0)) for each in root.iter(f"{SVG}rect")]
    assert heights == pytest.approx([120, 180, 90, 210]), "80 and 120 before, 60 and 140 now, of 300 units for 200"
    titles = [each.findtext(f"{SVG}title") for each in root.iter(f"{SVG}path")]
    assert titles == ["low → low: 60", "low → high: 20", "high → high: 120"]


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0, [0, 1]),
        (89, [0, 25, 50, 75, 100]),
        (1_000_000, [0, 250_000, 500_000, 750_000, 1_000_000]),
        (0.04, [0, 0.01]),
    ],
)
def test_ticks_are_round_and_reach_the_highest_value(highest: float, ticks: list[float]) -> None:
    assert ticks_to(highest)[: len(ticks)] == pytest.approx(ticks)
    assert ticks_to(highest)[-1] >= highest


def test_text_that_is_too_wide_is_shortened() -> None:
    assert width_of("分群") > width_of("ab")
    assert shortened("short", 100) == "short"
    short = shortened("高价值但最近没有购买的用户", 60)
    assert short.endswith("…") and width_of(short) <= 60


def test_the_labels_of_many_lines_do_not_overlap() -> None:
    many = [Line(f"segment {n}", [1, 5], ["1", "5"], "#000") for n in range(30)]
    root = drawn(lines("trend", ["May 1", "May 8"], [0, 7], many))
    heights = sorted(
        float(each.get("y", 0)) for each in root.iter(f"{SVG}text") if "segment" in "".join(each.itertext())
    )
    assert len(heights) == 30
    assert all(below - above >= 15 for above, below in pairwise(heights))
    assert heights[0] > 0 and heights[-1] < float(root.get("height", 0))
