"""``POST /v1/events``: live events, kept at once, in the lake a moment later, each once."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from segadmin.events.exact_json import decode, encode
from segadmin.events.inbox import Inbox
from segadmin.events.mapping import Mapping
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.request import check_request
from segadmin.settings import Settings
from segadmin.store import check_folder
from segadmin_api.http.bodies import read_body
from segadmin_api.http.security import known_key
from segadmin_worker.client import ring_over

_PROBLEMS_TOLD = 100

router = APIRouter(prefix="/v1", tags=["events"])


class Problem(BaseModel):
    """An event that will go to quarantine."""

    index: int  #: in the batch, from 0
    reason: str
    field: str | None
    value: str | None


class Accepted(BaseModel):
    """What became of a batch."""

    batch: str  #: its name: the same batch has the same
    events: int
    usable: int  #: duplicates and bots are told only by the import
    problems: list[Problem]  #: of the others, the first hundred


@router.post(
    "/events",
    status_code=202,
    response_model=Accepted,
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
async def post_events(request: Request, key: Annotated[str, Depends(known_key)]) -> Accepted:
    """Keep events: an object, a list of them, or one a line (`application/x-ndjson`).

    Fields are those of an import: `user`, `kind`, `item` and `at`, and what else there is. When this is answered the
    events are on disk. Send them again if you are not sure: with an `event_id`, or where they say the same, they count
    once. A body may be compressed (`Content-Encoding: gzip`, `deflate` or `zstd`).
    """
    body = await read_body(request)
    lines = _lines(body, request.headers.get("content-type", ""))
    return await run_in_threadpool(_keep, request.app.state.settings, lines)


def _lines(body: bytes, content_type: str) -> list[str]:
    """Return a line of JSON for each event; what is no object is one too, and ends in quarantine."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"The body is not UTF-8 at byte {error.start}.") from None
    if "ndjson" in content_type or "jsonl" in content_type:
        lines = [line for line in text.split("\n") if line.strip()]
    else:
        try:
            value = decode(text)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"The body is not JSON: {error}. One event a line is x-ndjson.") from None
        lines = [encode(event) for event in (value if isinstance(value, list) else [value])]
    if not lines:
        raise HTTPException(400, "There are no events in the body.")
    # Half of a surrogate pair is no UTF-8, and a line must stay one.
    return [line.encode("utf-8", "backslashreplace").decode().replace("\r", " ") for line in lines]


def _keep(settings: Settings, lines: list[str]) -> Accepted:
    """Keep a batch, see that it will be imported, and say which of its events cannot be used."""
    from segadmin.events.cells import readable
    from segadmin.events.clean import clean, complete
    from segadmin.events.number_columns import NumberColumns
    from segadmin_plugins.sources.jsonl import frame_of

    mapping = Mapping.read(settings.events_mapping) if settings.events_mapping else Mapping()
    check_folder(settings)  # what is kept in a folder that a disk is mounted over later would be lost
    batch = Inbox.of(settings).add(lines)
    _import_soon(settings, mapping)
    chunk = complete(readable(frame_of([line.encode() for line in lines])), "events", mapping)
    found = clean(chunk, "events", mapping, numbers=NumberColumns(mapping, typed=True, whole=False))
    told = found.bad.head(_PROBLEMS_TOLD).with_columns(index=found.bad["line"].head(_PROBLEMS_TOLD) - 1)
    problems = [
        Problem(index=one["index"], reason=one["reason"], field=one["column"], value=one["value"])
        for one in told.iter_rows(named=True)
    ]
    return Accepted(batch=batch, events=found.read, usable=found.good.height, problems=problems)


def _import_soon(settings: Settings, mapping: Mapping) -> None:
    """Enqueue the import of all that comes until the next slot, once, whichever process asks for it first."""
    slot = int(datetime.now(UTC).timestamp() // settings.inbox_seconds) + 1
    due = datetime.fromtimestamp(slot * settings.inbox_seconds, UTC)
    options = check_request(settings, "ingest", {"where": "inbox://", "mapping": mapping.model_dump(mode="json")})
    # The mapping may change between two posts: what is asked for then is another request.
    reading = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]
    key = f"inbox:{due.isoformat()}:{reading}"
    enqueue(settings, ring_over(settings), "ingest", options, idempotency_key=key, not_before=due)
