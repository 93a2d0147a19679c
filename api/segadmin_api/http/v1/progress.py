"""``GET /v1/jobs/{job}/events``: the progress of a job as server-sent events, until it is over."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Header, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from segadmin.jobs import control
from segadmin.jobs.control import JobView
from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.records import ApiKey, Scope
from segadmin_api.http.v1.jobs import JobNumber, details
from segadmin_api.http.v1.routing import allow, router, settings_of

progress = router("/jobs", "jobs")
#: Seconds between two looks at a job, and from one byte to the next, so that proxies keep the connection.
_LOOK_SECONDS, _SILENCE = 1.0, 15.0
#: Seconds after which a stream ends; a client connects again with its key, and goes on where it was.
_LONGEST = 600.0
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=100, description="The last event that was received.")
]


class Streams:
    """The number of open streams of a process; used only on the event loop."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, 0

    def check(self) -> None:
        """Refuse a further stream if there are too many.

        Raises:
            HTTPException: 429.
        """
        if self._open >= self._most:
            detail = "Too many streams of progress are open. Close one, or ask again later."
            raise HTTPException(429, detail, {"Retry-After": "5"})

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Count a stream as open."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


@progress.get(
    "/{job}/events",
    dependencies=[allow(Scope.VIEWER)],
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events `progress`, and `end` as the last one.", "content": {"text/event-stream": {}}},
        204: {"description": "The job is over, and its end was received."},
    },
)
async def stream_progress(request: Request, job: JobNumber, last_event_id: LastEventId = None) -> Response:
    """Send the job, as `GET /v1/jobs/{job}` shows it, whenever it changed; `end` is the last event.

    A client that was cut off sends the id of the last event in `Last-Event-ID`: it gets only what changed since.
    """
    settings = settings_of(request)
    view = await run_in_threadpool(control.view, settings, job)
    if view.job.state.over and last_event_id == _event(view)[0]:
        return Response(status_code=204)
    streams: Streams = request.app.state.streams
    streams.check()
    return StreamingResponse(
        _counted(streams, _events(settings, job, last_event_id, request.state.key)),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _counted(streams: Streams, events: AsyncIterator[str]) -> AsyncIterator[str]:
    with streams.lease():
        async for event in events:
            yield event


async def _events(settings: Settings, job: int, last: str | None, key: ApiKey) -> AsyncIterator[str]:
    """Yield the events of a job, and comments where nothing happens, as long as the key is valid."""
    began = sent = time.monotonic()
    yield "retry: 2000\n\n"
    while time.monotonic() - began < _LONGEST:
        view = await run_in_threadpool(_look, settings, job, key)
        if view is None:
            return
        number, text = _event(view)
        if number != last:
            last, sent = number, time.monotonic()
            yield text
        elif time.monotonic() - sent > _SILENCE:
            sent = time.monotonic()
            yield ": still there\n\n"
        if view.job.state.over:
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _look(settings: Settings, job: int, key: ApiKey) -> JobView | None:
    """Return the job as it is now; ``None`` if the key was revoked, or has expired."""
    return control.view(settings, job) if api_keys.is_valid(settings, key) else None


def _event(view: JobView) -> tuple[str, str]:
    """Return the id and the text of the event for a job as it is now."""
    data = details(view).model_dump_json()
    facts = json.loads(data)
    facts.pop("seconds_left")  # it changes without anything that happens
    number = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    kind = "end" if view.job.state.over else "progress"
    return number, f"id: {number}\nevent: {kind}\ndata: {data}\n\n"
