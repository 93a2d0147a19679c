"""The application: its routes, and how errors are told (RFC 9457)."""

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
    SegadminError,
    StorageError,
)
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.store import open_store
from segadmin.urls import mask_secrets
from segadmin_api.dashboard import problem
from segadmin_api.http import events, pages
from segadmin_api.http.bodies import BodyMemory
from segadmin_api.http.guesses import Guesses
from segadmin_api.http.hosts import Hosts
from segadmin_api.http.shield import HEALTH, Shield
from segadmin_worker.services import LOOPBACK

log = logging.getLogger(__name__)
#: Error → status; of a class that is not here, the nearest one above it.
_STATUS = {
    JobNotFound: HTTPStatus.NOT_FOUND,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    KeyReused: HTTPStatus.CONFLICT,
    DataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}
#: What callers are told where the fault is the server's: its messages name folders and hosts, and go to the log.
_NEUTRAL = {
    HTTPStatus.SERVICE_UNAVAILABLE: "The server cannot do this at the moment; its log says why. Try again later.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server failed at this; its log says why.",
}


def create_app(settings: Settings, address: str = LOOPBACK) -> Shield:
    """Return the application over the store and the database of ``settings``, which listens on ``address``."""
    return Shield(routes(settings), Hosts(settings.web_hosts, address), _answer)


def routes(settings: Settings) -> FastAPI:
    """Return the application without its shield; its OpenAPI description is what ``docs/generate.py`` reads."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database.ensure_schema(settings)
        open_store(settings)  # the first event may come before the first import
        events.warm_up()
        gc.collect()
        gc.freeze()  # what is there now stays, and is not looked through again while a body is read
        yield

    # FastAPI's own pages of the API are open to everybody and load scripts of others: pages.openapi is instead of them.
    app = FastAPI(
        title="segadmin",
        version=version("segadmin"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.settings = settings
    app.state.guesses, app.state.body_memory = Guesses(), BodyMemory()
    # One body is read at a time: the threads of two would take turns with the interpreter, so that both are done no
    # sooner, and the event loop, which needs it many times for each answer, would wait for both each time.
    app.state.reading = asyncio.Lock()
    app.include_router(events.router)
    app.include_router(pages.router)
    app.include_router(pages.described)
    for kind in (SegadminError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _problem)

    @app.api_route(HEALTH, methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> dict[str, str]:  # needs no thread, of which others may hold all
        """Say that the process answers."""
        return {"status": "ok"}

    return app


async def _problem(request: Request, error: Exception) -> Response:
    """Return an error as an answer."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status, detail, headers = HTTPStatus(error.status_code), error.detail, dict(error.headers or {})
    elif isinstance(error, RequestValidationError):
        status = HTTPStatus.NOT_FOUND  # a part of the path that names nothing, and there is nothing else to be wrong
        detail = f"There is nothing at {request.url.path}."
    else:
        status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
        detail = _NEUTRAL.get(status) or mask_secrets(str(error))
        if status in _NEUTRAL and isinstance(error, SegadminError):  # the log of others has their traceback
            log.error("%s %s: %s", request.method, quote(request.url.path), error, extra={"action": "answer"})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "10"
    return _answer(request, status, detail, headers)


def _answer(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as ``application/problem+json``, or as a page to who asked for one."""
    title = HTTPStatus(status).phrase
    if "text/html" in request.headers.get("accept", ""):
        return pages.answer(problem.page(title, detail), status, headers)
    facts = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
    return JSONResponse(facts, int(status), headers, media_type="application/problem+json")
