"""Posted events cost what their bytes cost, whatever their shape; what is over a limit is told and quarantined."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable

import polars as pl
import pytest
from fastapi import HTTPException

from segadmin.contracts.source import OTHER
from segadmin.events.cells import readable
from segadmin.events.clean import clean, complete
from segadmin.events.event_limits import (
    DEEPEST,
    LARGEST_EVENT,
    LONGEST_NAME,
    LONGEST_NUMBER,
    LONGEST_TEXT,
    MOST_FIELDS,
    MOST_NAMES,
)
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.events.pii import mask
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_api.http.events import _check, _lines
from segadmin_plugins.sources.jsonl import posted_frames, posted_records
from tests.hostile_events import SHAPES

EVENT = {"user": "u", "kind": "view", "item": "i", "at": "2026-01-31T18:05:00Z"}


def event(text: str) -> str:
    """Return an event with more fields, written so."""
    return f"{json.dumps(EVENT)[:-1]}, {text}}}"


def fields(count: int, prefix: str = "f") -> str:
    return ", ".join(f'"{prefix}{n}": 1' for n in range(count))


def nested(depth: int, opening: str, closing: str) -> str:
    return event(f'"x": {opening * depth}{closing * depth}')


AT_THE_LIMIT = {
    "fields": event(fields(MOST_FIELDS - 4)),
    "name": event(f'"{"n" * LONGEST_NAME}": 1'),
    "number": event(f'"price": 0.{"1" * (LONGEST_NUMBER - 2)}'),
    "digits in a text": event(f'"text": "{"1" * LONGEST_TEXT}"'),
    "text": event(f'"text": "{"a" * LONGEST_TEXT}"'),
    "lists": nested(DEEPEST - 1, "[", "]"),
    "objects": event('"x": ' + '{"a": ' * (DEEPEST - 2) + "{}" + "}" * (DEEPEST - 2)),
    "brackets in a text": event(f'"text": "{"[" * 1000}"'),
    "a wide list": event(f'"x": [{"[]," * 1000}[]]'),
    "bytes": event(f'"a": "{"a" * 60_000}", "b": "{"b" * 60_000}", "c": "{"c" * 60_000}", "d": "{"d" * 60_000}"'),
}
OVER_THE_LIMIT = {
    "fields": (event(fields(MOST_FIELDS - 3)), "too_many_fields"),
    "name": (event(f'"{"n" * (LONGEST_NAME + 1)}": 1'), "too_long"),
    "number": (event(f'"price": 0.{"1" * LONGEST_NUMBER}'), "too_long"),
    "number inside": (event(f'"x": [{{"y": [{"1" * (LONGEST_NUMBER + 1)}]}}]'), "too_long"),
    "text": (event(f'"text": "{"a" * (LONGEST_TEXT + 1)}"'), "too_long"),
    "lists": (nested(DEEPEST, "[", "]"), "too_deep"),
    "lists that the decoder refuses": (nested(100_000, "[", "]"), "not_json"),
    "bytes": (event(f'"x": "{"a" * LARGEST_EVENT}"'), "too_long"),
}


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_an_event_at_a_limit_is_taken(name: str) -> None:
    assert _check([AT_THE_LIMIT[name]], Mapping()) == (1, 1, [])


@pytest.mark.parametrize("name", OVER_THE_LIMIT)
def test_an_event_over_a_limit_costs_no_other(settings: Settings, name: str) -> None:
    text, reason = OVER_THE_LIMIT[name]
    lines = [json.dumps(EVENT | {"item": "a"}), text, json.dumps(EVENT | {"item": "b"})]
    events, usable, problems = _check(lines, Mapping())
    assert (events, usable) == (3, 2)
    assert [(problem.index, problem.reason) for problem in problems] == [(1, reason)]
    Inbox.of(settings).add(lines)
    record, _ = import_file(settings, ImportRequest("events", "inbox://"))
    assert (record.rows_read, record.rows_kept, record.reasons) == (3, 2, {reason: 1})
    kept = Lake.of(settings).scan("quarantine").collect()["row"][0]
    assert json.loads(kept)["segadmin:row"] == text, "it is there whole"


def test_different_fields_of_a_batch_have_a_limit(settings: Settings) -> None:
    lines = [event(f'"x{n}": 1, "color": "red"') for n in range(MOST_NAMES + 50)]
    events, usable, problems = _check(lines, Mapping())
    assert (events, usable) == (len(lines), MOST_NAMES - 5)
    assert Counter(problem.reason for problem in problems) == {"too_many_fields": 55}
    box = Inbox.of(settings)
    box.add(lines)
    box.add([event(f'"y{n}": 1') for n in range(MOST_NAMES - 4)])  # each batch has its own
    record, _ = import_file(settings, ImportRequest("events", "inbox://"))
    assert record.reasons["too_many_fields"] == 55


def test_a_field_that_nearly_no_event_has_is_found_by_the_mapping() -> None:
    lines = [event(f'"x{n}": 1') for n in range(1500)] + [event('"coupon": "c9", "deep": {"sku": [1, "s7"]}')]
    [frame] = posted_frames(posted_records(line.encode() for line in lines), 10_000)
    assert OTHER in frame.columns
    assert "coupon" not in frame.columns
    mapping = Mapping(columns={"status": "coupon", "item": "deep.sku.1"}, extras=("coupon",))
    cleaned = clean(complete(readable(frame), "events", mapping), "events", mapping)
    assert cleaned.good.select("item", "status", "extras").row(-1) == ("s7", "c9", '{"coupon":"c9"}')
    assert set(cleaned.bad["reason"]) == {"missing_item"}


@pytest.mark.parametrize("name", SHAPES)
def test_cells_are_not_more_than_values_make_them(name: str) -> None:
    try:
        lines = _lines(SHAPES[name](300_000), "")
    except HTTPException as error:
        assert error.status_code in {400, 413}
        return
    rows = 0
    for frame in posted_frames(posted_records(line.encode() for line in lines), 5_000):
        values = sum(column.len() - column.null_count() for column in frame)
        inside = sum(len(json.loads(cell)) for cell in frame[OTHER].drop_nulls()) if OTHER in frame.columns else 0
        assert frame.height * frame.width <= 8 * (values + inside) + 600_000
        rows += frame.height
    assert rows == len(lines), "none is lost"


def work(body: bytes) -> None:
    """Do all that a body costs the web process, and reading it costs the import."""
    try:
        lines = _lines(body, "")
    except HTTPException as error:
        assert error.status_code in {400, 413}
        return
    _check(lines, Mapping())
    for frame in posted_frames(posted_records(line.encode() for line in lines), 50_000):
        clean(complete(readable(frame), "events", Mapping()), "events", Mapping())


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def in_time(small: Callable[[], object], large: Callable[[], object], factor: float, allowed: float) -> bool:
    """Return whether ``large`` takes no more than ``factor`` times as long as ``small``, and ``allowed`` seconds.

    The least of three measurements counts; the later ones are made where the first are too long.
    """
    before, after = [], []
    for _ in range(3):
        before.append(cpu_seconds(small))
        after.append(cpu_seconds(large))
        if min(after) <= factor * min(before) + allowed:
            return True
    return False


def allocated(body: bytes) -> int:
    """Return the most bytes of Python's that are held at one time."""
    tracemalloc.start()
    try:
        work(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", SHAPES)
def test_time_and_memory_grow_with_the_bytes(name: str) -> None:
    """Four times the bytes are about four times the work; were it quadratic, sixteen times."""
    small, large = SHAPES[name](50_000), SHAPES[name](200_000)
    work(small)
    assert in_time(lambda: work(small), lambda: work(large), 8, 0.1)
    before_bytes, after_bytes = allocated(small), allocated(large)
    assert after_bytes <= 8 * before_bytes + 100 * len(large)  # garbage is collected at times, or not yet
    assert after_bytes <= 200 * len(large)


@pytest.mark.parametrize(
    "piece",
    ["1", "a", "a.", "市", "区路", "中山市", "路1号", "路" + " " * 50, "1 ", "(1) ", "://a:", "a@", "+", "1.1."],
)
def test_masking_takes_time_with_the_length_of_a_text(piece: str) -> None:
    short, long = (pl.Series(["@ 13800138000 " + piece * (length // len(piece))]) for length in (4_000, 32_000))
    quick = in_time(lambda: mask(short), lambda: mask(long), 8 * 3, 0.05)
    assert quick, "eight times the length; were it quadratic, 64 times"
