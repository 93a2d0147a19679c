"""How much of the demo a machine does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings
from segadmin_api.cli.demo_scale import GOAL_SECONDS, SCALES, WHOLE, Scale, choose, explain


@pytest.mark.parametrize(
    ("speed", "scale"),
    [
        (1000.0, WHOLE),  # a GPU
        (50.0, WHOLE),
        (28.0, Scale(epochs=1)),
        (14.0, Scale(epochs=1, max_tokens=32)),  # where all of it took 22 minutes
        (6.0, Scale(epochs=1, max_tokens=32, households=1_000)),
        (0.5, Scale(epochs=1, max_tokens=32, households=300)),
    ],
)
def test_a_slower_machine_does_less(speed: float, scale: Scale) -> None:
    assert choose(speed) == scale


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_what_is_chosen_fits_the_goal_and_never_shrinks_on_a_faster_machine(speed: float, other_speed: float) -> None:
    slow, fast = sorted((speed, other_speed))
    assert choose(slow).seconds(slow) <= GOAL_SECONDS or choose(slow) == SCALES[-1]
    assert SCALES.index(choose(fast)) <= SCALES.index(choose(slow))


def test_the_line_names_the_speed_what_is_left_out_and_how_to_do_it_all() -> None:
    measured = "This machine trains on 80 users a second (measured just now)"
    assert explain(WHOLE, 80.0) == f"{measured}: the demo takes about 5 min."
    line = explain(choose(14.0), 14.0)
    assert "14 users a second" in line
    assert "all of the demo takes about 23 min (segadmin demo --full)" in line
    assert "1 of 2 epochs, 32 of 64 tokens of each text take about 9 min" in line
    assert "1,000 of 2,469 households" in explain(choose(6.0), 6.0)


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_its_options_are_those_of_the_backbone(scale: Scale, settings: Settings) -> None:
    options = scale.options.get("backbone_options", {})
    made = load_plugins(settings).make("backbone", "stacked", options)
    text = made._members(settings)["text"]
    assert (text.epochs, text.max_tokens) == (scale.epochs, scale.max_tokens)
