"""The application: its routes, and the state that they share."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from segadmin.errors import SegadminError
from segadmin.settings import Settings
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.storage import database
from segadmin.storage.store import open_store
from segadmin_api.http import description, events, login, metrics, pages, segments, uploads, v1
from segadmin_api.http.admission import Admission
from segadmin_api.http.bodies import MOST_BYTES, MOST_HELD, BodyMemory
from segadmin_api.http.compression import Compression
from segadmin_api.http.conditional import Conditional
from segadmin_api.http.counts import Counts
from segadmin_api.http.guesses import Guesses, TokenBuckets
from segadmin_api.http.head_requests import HeadRequests
from segadmin_api.http.hosts import Hosts
from segadmin_api.http.problems import answer, answer_error
from segadmin_api.http.processes import ALONE, Processes, end_with_parent
from segadmin_api.http.shield import HEALTH, Shield
from segadmin_api.http.threads import ServiceThreads, limit_usual_threads
from segadmin_api.http.v1.progress import Streams
from segadmin_worker.services import LOOPBACK

#: A key may send the requests of so many seconds at once.
_BURST_SECONDS = 10


def create_app(
    settings: Settings, address: str = LOOPBACK, *, is_protected: bool = False, processes: Processes = ALONE
) -> Shield:
    """Return the application for the store and the database of ``settings``.

    Args:
        settings: of the server.
        address: that it listens on.
        is_protected: whether browsers reach it only over HTTPS.
        processes: of the server.
    """
    app = routes(settings, processes)
    app.state.is_protected = is_protected
    inner = HeadRequests(Compression(Conditional(app)))
    return Shield(inner, Hosts(settings.web_hosts, address), answer, uploads.limits(settings))


def routes(settings: Settings, processes: Processes = ALONE) -> FastAPI:
    """Return the application without its shield; ``docs/generate.py`` reads its OpenAPI description."""
    # FastAPI's own documentation pages need no key and load third-party scripts; pages/openapi.py replaces them.
    app = FastAPI(
        title="segadmin",
        version=version("segadmin"),
        lifespan=partial(_lifespan, settings=settings, processes=processes),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    _set_state(app, settings, processes)
    for router in routers():  # they are complete: `include_router` would look through the routes twice per request
        app.router.routes.extend(router.routes)
    for kind in (SegadminError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer_error)
    description.complete(app)

    @app.api_route(HEALTH, methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> dict[str, str]:  # async, because all worker threads may be busy
        """Report that the process answers."""
        return {"status": "ok"}

    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI, *, settings: Settings, processes: Processes) -> AsyncIterator[None]:
    """Get ready before the first request, and run the tasks of the application until it ends."""
    database.ensure_schema(settings)
    open_store(settings)  # the first event may arrive before the first import
    events.warm_up()
    limit_usual_threads()
    gc.collect()
    gc.freeze()  # current objects are permanent and need not be collected while a body is read
    gc.set_threshold(700, 10, 10)  # commands search less often, but this one makes garbage for months
    app.state.scoring = segments.Scoring(settings, waiting=processes.share(settings.web_scores_waiting))
    end_with_parent(processes)
    tasks = [asyncio.create_task(app.state.scoring.run()), asyncio.create_task(uploads.drop_old_hourly(settings))]
    yield
    for task in tasks:
        task.cancel()


def _set_state(app: FastAPI, settings: Settings, processes: Processes) -> None:
    """Set the state that the routes share; limits are divided among the processes of the server."""
    app.state.settings, app.state.is_protected = settings, False
    app.state.lookup, app.state.threads = SegmentLookup(settings), ServiceThreads()
    counts = Counts(processes.counts)
    app.state.guesses, app.state.rates = Guesses(counts=counts), _rates(settings, counts)
    app.state.streams = Streams(processes.share(settings.web_streams))
    app.state.body_memory = BodyMemory(max(MOST_BYTES, processes.share(MOST_HELD)))
    app.state.admission = Admission(settings.web_events_seconds)
    # One body is read at a time. Two threads would share the GIL, so that neither ends sooner, and the event loop,
    # which needs the GIL many times per answer, would wait for both each time.
    app.state.reading = asyncio.Lock()


def routers() -> list[APIRouter]:
    """Return the routers of all routes; the first that matches a path handles it."""
    return [
        events.router,
        segments.router,
        *v1.routers(),
        login.router,
        *pages.routers(),
        metrics.router,
    ]


def _rates(settings: Settings, counts: Counts) -> TokenBuckets | None:
    """Return the limit of requests per key; ``None`` if there is none."""
    rate = settings.web_requests_per_second
    if not rate:
        return None
    return TokenBuckets(counts, "requests", burst=max(1.0, rate * _BURST_SECONDS), refill_seconds=1 / rate)
