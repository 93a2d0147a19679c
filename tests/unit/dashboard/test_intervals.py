"""Charts of intervals: where their marks lie, and what is left out."""

from __future__ import annotations

import pytest

from segadmin_api.dashboard.intervals import WIDTH, IntervalChart, IntervalPoint, IntervalRow


def chart(*rows: IntervalRow, zero: float | None = None) -> IntervalChart:
    return IntervalChart("AUROC", ["one", "other"], rows, zero=zero)


def test_marks_lie_in_the_order_of_their_values() -> None:
    drawn = list(chart(IntervalRow("low", [IntervalPoint(0.7, 0.6, 0.8), IntervalPoint(0.9, 0.85, 0.95)])).drawn())
    assert [each.series for each in drawn] == ["one", "other"]
    assert 0 < drawn[0].left < drawn[0].x < drawn[0].right < drawn[1].left < drawn[1].right < WIDTH
    assert drawn[0].y < drawn[1].y, "a line for each"
    assert drawn[0].colour != drawn[1].colour


def test_a_value_without_an_interval_is_a_dot_and_an_unknown_one_is_left_out() -> None:
    [dot] = chart(IntervalRow("low", [IntervalPoint(0.7), None])).drawn()
    assert dot.left == dot.x == dot.right


def test_the_line_of_no_difference_is_always_in_the_picture() -> None:
    whole = chart(IntervalRow("low", [IntervalPoint(0.2, 0.1, 0.3), None]), zero=0.0)
    assert 0 < whole.x_of(0.0) < whole.x_of(0.1)
    assert whole.ends[0] < 0


@pytest.mark.parametrize("points", [[None, None], [IntervalPoint(0.5)] * 2])
def test_few_values_make_a_picture_too(points: list[IntervalPoint | None]) -> None:
    whole = chart(IntervalRow("low", points))
    assert whole.ends[0] < whole.ends[1]
    assert 0 < whole.axis < whole.height
    assert [name for name, _ in whole.names()] == ["low"]
