"""A live event that raises an error goes to quarantine, and the others are cleaned as without it."""

from __future__ import annotations

import json

import polars as pl
import pytest

from segadmin.errors import ConfigurationError, StorageError
from segadmin.events.clean import Cleaned, clean, complete
from segadmin.events.import_request import ImportRequest
from segadmin.events.inbox import Inbox
from segadmin.events.ingest import import_file
from segadmin.events.isolate import FAILED, clean_each
from segadmin.events.mapping import Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_api.http.events import _check
from segadmin_plugins.sources.jsonl import posted_frames, posted_records

#: Which of two columns is the user is asked of files, and would be asked of a queue at every import again.
AMBIGUOUS = {"user_duplicated_0": "v"}


def event(number: int, **more: object) -> str:
    return json.dumps({"user": f"u{number}", "kind": "view", "item": "i", "at": "2026-01-31", **more})


def cleaned(lines: list[str], mapping: Mapping = Mapping()) -> Cleaned:  # noqa: B008  (frozen)
    numbers = NumberColumns(mapping, typed=True, whole=False)
    [frame] = posted_frames(posted_records(line.encode() for line in lines), 1000)

    def each(rows: pl.DataFrame, first_line: int) -> Cleaned:
        return clean(complete(rows, "events", mapping), "events", mapping, first_line, numbers)

    return clean_each(frame, 1, each)


@pytest.mark.parametrize("bad", [[0], [7], [3, 4], [0, 15, 31], list(range(32))])
def test_only_the_rows_that_raise_an_error_are_unusable(bad: list[int]) -> None:
    lines = [event(n, **(AMBIGUOUS if n in bad else {})) for n in range(32)]
    lines[20] = "nonsense" if 20 not in bad else lines[20]
    result = cleaned(lines)
    good = [n for n in range(32) if n not in bad and n != 20]
    assert result.good["user"].to_list() == [f"u{n}" for n in good]
    assert result.good["line"].to_list() == [n + 1 for n in good]
    reasons = dict(result.bad.select("line", "reason").iter_rows())
    assert reasons == {n + 1: FAILED for n in bad} | ({} if 20 in bad else {21: "not_json"})
    assert result.read == 32
    values = result.bad.filter(pl.col("reason") == FAILED)["value"]
    assert all(value.startswith("DataError: The file has several columns 'user'") for value in values)


def test_what_no_row_causes_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no field 'nosuch'"):
        cleaned([event(1)], Mapping(columns={"nosuch": "x"}))

    def full(_rows: pl.DataFrame, _line: int) -> Cleaned:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        clean_each(pl.DataFrame({"user": ["u"]}), 1, full)


def test_the_client_is_told_and_the_others_arrive(settings: Settings) -> None:
    lines = [event(1), event(2, **AMBIGUOUS), event(3)]
    events, usable, problems = _check(lines, Mapping())
    assert (events, usable, [(problem.index, problem.reason) for problem in problems]) == (3, 2, [(1, FAILED)])
    Inbox.of(settings).add(lines)
    done, _ = import_file(settings, ImportRequest("events", "inbox://"))
    assert (done.rows_kept, done.reasons) == (2, {FAILED: 1})
    assert Inbox.of(settings).failed() == []
    [row] = Lake.of(settings).scan("quarantine").collect()["row"]
    assert {name: value for name, value in json.loads(row).items() if value is not None} == json.loads(lines[1])


def test_a_column_of_the_shop_may_have_the_name_of_a_column_of_ours(settings: Settings) -> None:
    mapping = Mapping(columns={"item": "line", "user": "row"})
    lines = [
        '{"row": "u1", "line": "lamp", "kind": "view", "at": "2026-01-31"}',
        "nonsense",
        '{"row": "u2", "line": "sofa", "kind": "view", "at": "2026-01-31"}',
    ]
    Inbox.of(settings).add(lines)
    done, _ = import_file(settings, ImportRequest("events", "inbox://", mapping))
    assert (done.rows_kept, done.reasons) == (2, {"not_json": 1})
    assert set(Lake.of(settings).scan("events").collect()["item"]) == {"lamp", "sofa"}
    each = Mapping(each="products", columns={"item": "line", "price": "products.price"})
    order = (
        '{"user": "u3", "line": "desk", "kind": "view", "at": "2026-01-31", "products": [{"price": 1}, {"price": 2}]}'
    )
    Inbox.of(settings).add([order])
    assert import_file(settings, ImportRequest("events", "inbox://", each))[0].rows_kept == 2
