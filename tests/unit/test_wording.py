"""How durations and numbers of things are put into words."""

from __future__ import annotations

import pytest

from segadmin.counts import counted
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import counted_of
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


@pytest.mark.parametrize(("number", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1200, "1,200 rows")])
def test_a_noun_agrees_with_its_number(number: int, words: str) -> None:
    assert counted(number, "row") == words


def test_a_plural_that_is_not_formed_by_an_s_is_given() -> None:
    assert (counted(1, "batch", "batches"), counted(2, "batch", "batches")) == ("1 batch", "2 batches")


@pytest.mark.parametrize("noun", ["alarm", "event", "example", "job", "label", "row", "test row", "user"])
def test_a_noun_on_a_page_agrees_with_its_number(noun: str) -> None:
    assert [counted_of(ENGLISH, number, noun) for number in (0, 1, 1200)] == [
        f"0 {noun}s",
        f"1 {noun}",
        f"1,200 {noun}s",
    ]
    one, many = (counted_of(Reader(language="zh"), number, noun) for number in (1, 2))
    assert one.replace("1", "2") == many != f"2 {noun}s"
