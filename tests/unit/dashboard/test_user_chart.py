"""The picture of a user's segments over time has a bar for each time in a segment, however many snapshots it was."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from segadmin.snapshots.user import Assigned
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.users import _chart


def history(segments: Sequence[str], label_set: str = "spend3") -> list[Assigned]:
    """Return a snapshot a day, newest first."""
    rows = [
        Assigned(
            snapshot_id=day,
            label_set=label_set,
            current=False,
            as_of=f"2026-03-{day:02}T00:00:00+00:00",
            model_version_id=1,
            segment=segment,
            probabilities={},
        )
        for day, segment in enumerate(segments, 1)
    ]
    return rows[::-1]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        (["low"] * 3 + ["high"] * 2 + ["low"], ["low: 1 – 4", "high: 4 – 6", "low: 6 – 6"]),
        (["low", "low"], ["low: 1 – 2"]),
        (["low", "high"], ["low: 1 – 2", "high: 2 – 2"]),
    ],
)
def test_a_bar_ends_where_the_next_one_begins(segments: list[str], expected: list[str]) -> None:
    rows = [*history(segments), *history(["other"] * 9, "lapse4")]
    drawn = str(_chart(rows, "spend3", Reader()))
    bars = re.findall("<rect.*?<title>(.*?): 3/(.*?)/26.*? – 3/(.*?)/26.*?</title>", drawn)
    assert [f"{segment}: {begin} – {end}" for segment, begin, end in bars] == expected


def test_one_snapshot_is_no_picture() -> None:
    assert _chart(history(["low"]), "spend3", Reader()) is None
