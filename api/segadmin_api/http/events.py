"""``POST /v1/events``: stores live events at once, and enqueues their import without duplicates."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request

from segadmin.events.event_limits import LARGEST_EVENT, MOST_EVENTS
from segadmin.events.inbox import Inbox
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.records import Scope
from segadmin.storage.store import check_folder
from segadmin_api.http.bodies import MOST_BYTES, encodings_of, read_body, unpack
from segadmin_api.http.problems import problem_responses
from segadmin_api.http.security import Requires
from segadmin_api.inbox_import import import_soon
from segadmin_api.schemas.services import Accepted, Problem
from segadmin_plugins.sources.json_list import ElementTooLong, elements

if TYPE_CHECKING:
    import polars as pl

#: Maximum number of problems in a response.
_MOST_PROBLEMS = 100
#: Events that are checked together; few, so that other requests are answered in between.
_ROWS_AT_ONCE = 5_000
_LINE = re.compile(r"[^\n]+")

router = APIRouter(prefix="/v1", tags=["events"])


#: Status → the reason why a batch is refused with it.
_REFUSALS = {
    400: "The body is incomplete, not UTF-8, not JSON, or not compressed as stated.",
    401: "The key is missing, unknown or expired.",
    403: "The key does not give access to this.",
    413: f"The body is larger than {MOST_BYTES >> 20} MiB, has more than {MOST_EVENTS:,} events, "
    f"or an event of more than {LARGEST_EVENT >> 10} KiB.",
    415: "The `Content-Encoding` is not supported.",
    429: "More events arrive than can be stored soon, or too many wrong keys came from this address; `Retry-After` "
    "gives the seconds to wait.",
    503: "The server cannot store the batch now; send it again after `Retry-After` seconds.",
}


async def check_admission(request: Request) -> None:
    """Refuse a post that would wait for too long, before its key is looked up and its body is read."""
    length = request.headers.get("content-length", "")
    request.app.state.admission.check(int(length) if length.isdecimal() else 0)


@router.post(
    "/events",
    dependencies=[Depends(check_admission)],
    status_code=202,
    response_model=Accepted,
    response_description="The batch is on disk.",
    responses=problem_responses(_REFUSALS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "example": [
                        {"user": "u1", "kind": "view", "item": "lamp-7", "at": "2026-01-31T18:05:00Z", "event_id": "e1"}
                    ]
                },
                "application/x-ndjson": {},
            },
        }
    },
)
async def post_events(request: Request, key: Annotated[str, Depends(Requires(Scope.EVENTS))]) -> Accepted:
    """Store events: an object, a list of objects, or one object per line (`application/x-ndjson`).

    The fields are those of an import: `user`, `kind`, `item` and `at`, and any others. The answer means that the events
    are on disk. Send them again if you are not sure that they arrived: events with the same `event_id`, or with the
    same content, are stored once. After 429 nothing was stored: send the same again after `Retry-After` seconds. The
    body may be compressed (`Content-Encoding: gzip`, `deflate` or `zstd`).
    """
    state, encodings = request.app.state, encodings_of(request)
    with state.body_memory.lease() as take:
        body = await read_body(request, take)
        content_type = request.headers.get("content-type", "")
        with state.admission.lease(len(body)):
            mapping = await state.threads.run(Mapping.read, state.settings.events_mapping)
            reading = partial(_read, body, encodings, content_type, mapping)
            async with state.reading:
                lines, checked = await state.threads.run(lambda: reading(_currency(state.settings)))
            batch = await state.threads.run(_store, state.settings, lines, mapping)
        return Accepted(batch=batch, events=checked[0], usable=checked[1], problems=checked[2])


def _read(
    body: bytes, encodings: list[str], content_type: str, mapping: Mapping, currency: str | None = None
) -> tuple[list[str], tuple[int, int, list[Problem]]]:
    """Return the events of a body, and the result of :func:`_check` for them."""
    lines = _lines(unpack(body, encodings), content_type)
    return lines, _check(lines, mapping, currency)


def _currency(settings: Settings) -> str | None:
    """Return the currency of the events that were posted before; SQL is asked once a second."""
    return _currency_at(settings, int(time.monotonic()))


@lru_cache(maxsize=8)
def _currency_at(settings: Settings, _second: int) -> str | None:
    from segadmin.events.import_record import inbox_currency

    return inbox_currency(settings)


def _store(settings: Settings, lines: list[str], mapping: Mapping) -> str:
    """Store events in the inbox, enqueue their import, and return the name of the batch."""
    check_folder(settings)  # events in a folder over which a disk is mounted later would be lost
    batch = Inbox.of(settings).add(lines)
    import_soon(settings, mapping)
    return batch


def _lines(body: bytes, content_type: str) -> list[str]:
    """Return one line of JSON per event; values that are not objects are included and go to quarantine."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"The body is not UTF-8 at byte {error.start}.") from None
    is_lines = "ndjson" in content_type or "jsonl" in content_type
    lines: list[str] = []
    try:
        for event in _split(text) if is_lines else elements(text, LARGEST_EVENT):
            if len(event) > LARGEST_EVENT:
                raise ElementTooLong(len(lines))
            if len(lines) == MOST_EVENTS:
                raise HTTPException(413, f"The body has more than {MOST_EVENTS:,} events. Send several.")
            lines.append(
                event.replace("\n", " ").replace("\r", " ")
            )  # only between values, because JSON escapes them in strings
    except ElementTooLong as error:
        detail = f"The event with the index {error.place} is longer than {LARGEST_EVENT >> 10} KiB. Send less with it."
        raise HTTPException(413, detail) from None
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is not JSON: {error}. For one event per line, use x-ndjson.") from None
    if not lines:
        raise HTTPException(400, "There are no events in the body.")
    return lines


def _split(text: str) -> Iterator[str]:
    return (line[0] for line in _LINE.finditer(text) if line[0].strip())


def warm_up() -> None:
    """Import the modules that reading events needs; this takes seconds and would delay the first requests."""
    from segadmin.events import import_record  # noqa: F401  (for `_currency`)

    _check(["{}"], Mapping())


def _check(lines: list[str], mapping: Mapping, currency: str | None = None) -> tuple[int, int, list[Problem]]:
    """Return the number of events, the number of usable events, and the first problems.

    Args:
        lines: an event each.
        mapping: of posted events.
        currency: of the events that were posted before.
    """
    from segadmin.events.cells import readable
    from segadmin.events.clean import Cleaned, clean, complete
    from segadmin.events.isolate import clean_each
    from segadmin.events.number_columns import NumberColumns
    from segadmin_plugins.sources.jsonl import posted_frames, posted_records

    # The import cleans free text: this makes no event unusable, and takes longer than all other rules.
    rules = mapping.rules.model_copy(update={"clean_text": False, "mask_personal": False})
    mapping = mapping.model_copy(update={"rules": rules})
    numbers = NumberColumns(mapping, typed=True, queue=True)
    numbers.currency = currency

    def cleaned_rows(rows: pl.DataFrame, first_line: int) -> Cleaned:
        return clean(complete(rows, "events", mapping), "events", mapping, first_line, numbers)

    rows = events = usable = 0
    problems: list[Problem] = []
    for frame in posted_frames(posted_records(line.encode() for line in lines), _ROWS_AT_ONCE):
        cleaned = clean_each(readable(frame), 1 + rows, cleaned_rows)
        rows, events, usable = rows + frame.height, events + cleaned.read, usable + cleaned.good.height
        problems += map(_problem, cleaned.bad.head(_MOST_PROBLEMS - len(problems)).iter_rows(named=True))
    return events, usable, problems


def _problem(row: dict[str, Any]) -> Problem:
    return Problem.of(row["line"] - 1, row["reason"], row["column"], row["value"])
