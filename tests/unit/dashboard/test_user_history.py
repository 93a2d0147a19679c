from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from segadmin.snapshots.user import Assigned, Published
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.user_history import chart, stays_of

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def a_history(*segments: str | None, label_set: str = "spend", days: int = 0) -> tuple[list[Assigned], list[Published]]:
    """Return the assignments of a user and all snapshots, newest first, so many days apart."""
    published = [Published(n, label_set, DAY + timedelta(days=days * n)) for n in range(len(segments), 0, -1)]
    rows = [
        Assigned(each.id, label_set, each.id == len(segments), each.as_of.isoformat(), 1, segment, {segment: 1.0})
        for each in published
        if (segment := segments[each.id - 1]) is not None
    ]
    return rows, published


def bars(*segments: str | None) -> list[tuple[float, float]]:
    """Return from where to where the bars of the chart are, in snapshots."""
    drawn = chart(stays_of(*a_history(*segments)), ENGLISH)
    rects = ElementTree.fromstring(str(drawn)).iter("rect")
    edges = [(float(each.get("x", 0)), float(each.get("width", 0))) for each in rects]
    known = len(segments) - next(n for n, segment in enumerate(segments) if segment)
    return [(left / 320 * known, (left + width) / 320 * known) for left, width in edges]


def test_a_user_who_left_and_came_back_has_a_gap() -> None:
    stays = stays_of(*a_history(None, "low", "low", None, "low", "high"))
    assert [(each.segment, each.first.id, each.snapshots) for each in stays] == [
        ("low", 2, 2),
        (None, 4, 1),
        ("low", 5, 1),
        ("high", 6, 1),
    ]
    assert stays[1].model_version_id is None
    edges = bars(None, "low", "low", None, "low", "high")
    assert edges == [pytest.approx(pair, abs=0.01) for pair in ((0, 2), (3, 4), (4, 5))]


def test_snapshots_of_the_same_moment_are_as_wide_as_others() -> None:
    assert bars("low", "high", "high", "low") == [pytest.approx(pair, abs=0.01) for pair in ((0, 1), (1, 3), (3, 4))]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        (["low"] * 3 + ["high"] * 2 + ["low"], ["low: 3 – 6", "high: 6 – 8", "low: 8"]),
        (["low", "low"], ["low: 3 – 4"]),
        (["low", None, "low"], ["low: 3 – 4", "low: 5"]),
    ],
)
def test_a_user_is_in_a_segment_until_the_next_one(segments: list[str | None], expected: list[str]) -> None:
    drawn = str(chart(stays_of(*a_history(*segments, days=1)), Reader()))
    titles = re.findall("<rect.*?<title>(.*?)</title>", drawn)
    assert [re.sub(r"3/(\d+)/26, [^–]*?UTC", r"\1", text) for text in titles] == expected


def test_label_sets_are_apart_and_one_snapshot_alone_is_not_drawn() -> None:
    rows, published = a_history("low", "high")
    others, more = a_history("yes", label_set="churn")
    renumbered = [Published(3, each.label_set, each.as_of) for each in more]
    churn = [Assigned(3, "churn", True, DAY.isoformat(), 2, "yes", {"yes": 1.0}) for _ in others]
    stays = stays_of([*churn, *rows], [*renumbered, *published])
    assert {(each.label_set, each.segment, each.first.id) for each in stays} == {
        ("churn", "yes", 3),
        ("spend", "low", 1),
        ("spend", "high", 2),
    }
    assert chart([each for each in stays if each.label_set == "churn"], ENGLISH) is None
