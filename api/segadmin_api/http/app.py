"""The application: its routes and its error responses (RFC 9457)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from segadmin.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DataError,
    JobNotFound,
    KeyReused,
    ModelNotFound,
    PluginError,
    SegadminError,
    StorageError,
)
from segadmin.settings import Settings
from segadmin.snapshots.lookup import SegmentLookup
from segadmin.storage import database
from segadmin.storage.store import open_store
from segadmin.urls import mask_secrets
from segadmin_api.dashboard import problem
from segadmin_api.http import events, pages, segments, site
from segadmin_api.http.admission import Admission
from segadmin_api.http.bodies import BodyMemory
from segadmin_api.http.guesses import Guesses
from segadmin_api.http.hosts import Hosts
from segadmin_api.http.logged_paths import logged_path
from segadmin_api.http.shield import HEALTH, Shield
from segadmin_worker.services import LOOPBACK

log = logging.getLogger(__name__)
#: Error → status; a class that is not listed has the status of its nearest base class.
_STATUS = {
    JobNotFound: HTTPStatus.NOT_FOUND,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    KeyReused: HTTPStatus.CONFLICT,
    DataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
    PluginError: HTTPStatus.SERVICE_UNAVAILABLE,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}
#: The details of server errors. The messages of the errors name folders and hosts, so they go only to the log.
_GENERIC_DETAILS = {
    HTTPStatus.SERVICE_UNAVAILABLE: "The server cannot do this at the moment; see its log. Try again later.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An internal error occurred; see the log of the server.",
}


def create_app(settings: Settings, address: str = LOOPBACK) -> Shield:
    """Return the application for the store and the database of ``settings``, for a server on ``address``."""
    return Shield(routes(settings), Hosts(settings.web_hosts, address), _answer)


def routes(settings: Settings) -> FastAPI:
    """Return the application without its shield; ``docs/generate.py`` reads its OpenAPI description."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database.ensure_schema(settings)
        open_store(settings)  # the first event may arrive before the first import
        events.warm_up()
        gc.collect()
        gc.freeze()  # current objects are permanent and need not be collected while a body is read
        gc.set_threshold(700, 10, 10)  # commands search less often, but this one makes garbage for months
        app.state.scoring = segments.Scoring(settings)
        scoring = asyncio.create_task(app.state.scoring.run())
        yield
        scoring.cancel()

    # FastAPI's own documentation pages need no key and load third-party scripts; pages.openapi replaces them.
    app = FastAPI(
        title="segadmin",
        version=version("segadmin"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.settings = settings
    app.state.lookup = SegmentLookup(settings)
    app.state.guesses, app.state.body_memory = Guesses(), BodyMemory()
    app.state.admission = Admission(settings.web_events_seconds)
    # One body is read at a time. Two threads would share the GIL, so that neither ends sooner, and the event loop,
    # which needs the GIL many times per answer, would wait for both each time.
    app.state.reading = asyncio.Lock()
    app.include_router(events.router)
    app.include_router(segments.router)
    app.include_router(site.files_router)
    app.include_router(site.router)
    app.include_router(pages.router)
    app.include_router(pages.any_key_router)
    for kind in (SegadminError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _problem)

    @app.api_route(HEALTH, methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> dict[str, str]:  # async, because all worker threads may be busy
        """Report that the process answers."""
        return {"status": "ok"}

    return app


async def _problem(request: Request, error: Exception) -> Response:
    """Return the response for an error."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status, detail, headers = HTTPStatus(error.status_code), error.detail, dict(error.headers or {})
    elif isinstance(error, RequestValidationError):
        status = HTTPStatus.NOT_FOUND  # path parameters are the only ones that are validated
        detail = f"There is nothing at {request.url.path}."
    else:
        status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
        detail = _GENERIC_DETAILS.get(status) or mask_secrets(str(error))
        if status in _GENERIC_DETAILS and isinstance(
            error, SegadminError
        ):  # the traceback of other errors is logged already
            path = logged_path(quote(request.scope["path"]))
            log.error("%s %s: %s", request.method, path, error, extra={"action": "answer"})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", "10")
    return _answer(request, status, detail, headers)


def _answer(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as ``application/problem+json``, or as HTML if the client accepts it."""
    title = HTTPStatus(status).phrase
    if "text/html" in request.headers.get("accept", ""):
        return pages.answer(problem.page(title, detail), status, headers)
    facts = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
    return JSONResponse(facts, int(status), headers, media_type="application/problem+json")
