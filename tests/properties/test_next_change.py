"""No text of a built-in textualizer changes by time alone before its ``next_change``."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segadmin.contracts.event_kinds import KINDS
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Settings
from segadmin.testing import sample_events
from segadmin.text.next_change import next_changes

AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("compose", "journey", "list", "mixed", "reviews", "rfm", "sessions", "summary", "timeline")
DAYS = st.one_of(
    st.integers(0, 111).map(float),
    st.floats(0, 111.9),
    st.sampled_from([2.999999, 6.99999, 27.9999, 28.0, 55.99, 56.0]),
)
EVENT = st.tuples(DAYS, st.integers(-2, 2), st.sampled_from(KINDS), st.sampled_from("abc"), st.floats(0.5, 300))
Event = tuple[float, int, str, str, float]


def made(name: str) -> Textualizer:
    settings = Settings(home=Path(tempfile.gettempdir()) / "no-home")
    textualizer: Textualizer = load_plugins(settings).make("textualizer", name, {})
    return textualizer


def frame(events: list[Event]) -> pl.DataFrame:
    schema = sample_events(users=1).drop("user").schema
    rows = [
        {
            "user_key": 1,
            "event_id": number,
            "kind": kind,
            "item": item,
            "at": AS_OF - timedelta(days=days, microseconds=1 + abs(shift)) + timedelta(microseconds=shift),
            "price": price,
            "quantity": 1.0,
            "rating": 4.0 if kind == "rating" else None,
            "category": item * 2,
        }
        for number, (days, shift, kind, item, price) in enumerate(events)
    ]
    return pl.DataFrame(rows, schema=schema)


def text(textualizer: Textualizer, events: pl.DataFrame, as_of: datetime) -> list[str]:
    window = as_of - timedelta(days=112)
    inside = events.filter(pl.col("at") >= window, pl.col("at") < as_of)
    phrases = textualizer.phrases(inside.lazy(), TextContext(window, as_of, "en")).collect()
    return phrases.sort("position", "phrase")["phrase"].to_list()


@pytest.mark.parametrize("name", NAMES)
@hypothesis_settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), events=st.lists(EVENT, min_size=1, max_size=12))
def test_no_text_changes_before(name: str, data: st.DataObject, events: list[Event]) -> None:
    textualizer, rows = made(name), frame(events)
    context = TextContext(AS_OF - timedelta(days=112), AS_OF, "en")
    change = next_changes(textualizer, rows.lazy(), context, name)["next_change"][0]
    assert change is not None
    assert change > AS_OF
    until = change - AS_OF
    parts = data.draw(st.lists(st.floats(0, 1), max_size=3))
    now = text(textualizer, rows, AS_OF)
    last = change - timedelta(microseconds=1)
    for as_of in [last, *(min(AS_OF + until * part, last) for part in parts)]:
        assert text(textualizer, rows, as_of) == now


@pytest.mark.parametrize(
    ("name", "days", "expected"),
    [
        ("summary", 1.0, timedelta(days=2, seconds=1)),
        ("journey", 1.5, timedelta(days=0.5)),
        ("timeline", 100.0, timedelta(days=12, microseconds=1)),
        ("list", 1.0, timedelta(days=111, microseconds=1)),
    ],
)
def test_the_moment_is_that_of_the_change(name: str, days: float, expected: timedelta) -> None:
    rows = frame([(days, 0, "view", "a", 1.0)]).with_columns(at=pl.lit(AS_OF - timedelta(days=days)))
    context = TextContext(AS_OF - timedelta(days=112), AS_OF, "en")
    change = next_changes(made(name), rows.lazy(), context, name)["next_change"][0]
    assert change == AS_OF + expected
    assert text(made(name), rows, change) != text(made(name), rows, AS_OF)
