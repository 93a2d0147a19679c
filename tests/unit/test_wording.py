"""How durations are put into words."""

from __future__ import annotations

import pytest

from segadmin_api.formatting import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.2, "1 s"),
        (44.1, "45 s"),
        (59.9, "60 s"),
        (60, "1 min"),
        (200, "3 min"),
        (3599, "1 h 0 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_duration_is_rounded_to_what_matters(seconds: float, words: str) -> None:
    assert duration(seconds) == words
