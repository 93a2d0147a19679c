from __future__ import annotations

import pytest

from segadmin.errors import ConfigurationError
from segadmin.training.search_space import Choice
from segadmin.training.study import SearchSummary, Trial
from segadmin_api.dashboard.search_page import page


def test_ranges_and_values() -> None:
    assert Choice.of("epochs", "1..4") == Choice("epochs", 1, 4)
    assert Choice.of("rate", "1e-5..1e-3:log") == Choice("rate", 1e-5, 1e-3, log=True)
    assert Choice.of("share", "0..0.5") == Choice("share", 0, 0.5)
    assert Choice.of("tuner", "full, lora,full") == Choice("tuner", values=("full", "lora"))
    assert Choice.of("tuner", "full,lora").an_example == "full"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("4..1", "a range goes up"),
        ("0..1:log", "begins above 0"),
        ("full", "leaves nothing to choose"),
        ("", "leaves nothing to choose"),
        ("a..b", "'a' is not a number"),
    ],
)
def test_what_cannot_be_searched(words: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Choice.of("epochs", words)


def test_a_page_of_nothing_yet_and_of_trials() -> None:
    assert "No trial has finished yet" in page(7, SearchSummary())
    trials = (
        Trial(trial=1, state="complete", value=0.7, options={"epochs": 2}, seconds=1.0),
        Trial(trial=2, state="pruned", value=None, options={"epochs": 1}, seconds=1.0, why="<worse>"),
        Trial(trial=3, state="complete", value=0.6, options={"epochs": 3}, seconds=1.0),
    )
    html = page(7, SearchSummary(best=trials[2], trials=trials, importance={"epochs": 1.0}))
    assert "Trial 3 of 3 was best" in html
    assert "&lt;worse&gt;" in html
    assert html.count("<circle") == 2
