"""The application: its routes, and how errors are told (RFC 9457)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from html import escape
from http import HTTPStatus
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from segadmin import database
from segadmin.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DataError,
    JobNotFound,
    ModelNotFound,
    SegadminError,
    StorageError,
)
from segadmin.events.keys import open_store
from segadmin.pages import document
from segadmin.settings import Settings
from segadmin_api.dashboard.frame import NAVIGATION
from segadmin_api.http import events, pages

#: Error → status; of a class that is not here, the nearest one above it.
_STATUS = {
    JobNotFound: HTTPStatus.NOT_FOUND,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    DataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    SegadminError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def create_app(settings: Settings) -> FastAPI:
    """Return the application over the store and the database of ``settings``."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database.ensure_schema(settings)
        open_store(settings)  # the first event may come before the first import
        yield

    app = FastAPI(title="segadmin", version=version("segadmin"), lifespan=lifespan, redoc_url=None)
    app.state.settings = settings
    app.include_router(events.router)
    app.include_router(pages.router)
    app.add_exception_handler(SegadminError, _told)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _told)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    return app


async def _told(request: Request, error: Exception) -> Response:
    """Return an error as ``application/problem+json``, or as a page to who asked for one."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status, detail, headers = HTTPStatus(error.status_code), error.detail, dict(error.headers or {})
    elif isinstance(error, RequestValidationError):
        status = HTTPStatus.NOT_FOUND  # a part of the path that names nothing, and there is nothing else to be wrong
        detail = f"There is nothing at {request.url.path}."
    else:
        status = next(_STATUS[one] for one in type(error).__mro__ if one in _STATUS)
        detail = str(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "10"
    if "text/html" in request.headers.get("accept", ""):
        page = document(status.phrase, [f"<p>{escape(detail)}</p>"], above=NAVIGATION)
        return pages.answer(page, status.value, headers)
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return JSONResponse(problem, status.value, headers, media_type="application/problem+json")
