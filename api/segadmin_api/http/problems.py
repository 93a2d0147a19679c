"""Errors as responses: ``application/problem+json`` (RFC 9457), or HTML if the client accepts it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from segadmin.errors import (
    BackboneUnavailable,
    BrokerUnavailable,
    CanaryNotFound,
    ChangedMeanwhile,
    ConfigurationError,
    DataError,
    FeedNotFound,
    ImportNotFound,
    InvalidSettings,
    JobError,
    JobNotFound,
    KeyNotFound,
    LabelSetNotFound,
    MappingNotFound,
    MergeNotFound,
    ModelNotFound,
    NameTaken,
    PluginError,
    PluginNotFound,
    ScheduleNotFound,
    SegadminError,
    SnapshotNotFound,
    Stale,
    StorageError,
    UploadNotFound,
    UploadTooLarge,
    UserNotFound,
)
from segadmin.printable import printable
from segadmin.urls import mask_secrets
from segadmin_api.dashboard import problem
from segadmin_api.dashboard.problem import FIXES, GENERIC_DETAILS
from segadmin_api.http.html import html_response
from segadmin_api.http.logged_paths import logged_path
from segadmin_api.http.readers import reader_of
from segadmin_api.http.request_ids import request_id
from segadmin_api.schemas.problems import FieldProblem, HttpProblem

log = logging.getLogger(__name__)
NOT_FOUND = (
    CanaryNotFound,
    FeedNotFound,
    ImportNotFound,
    JobNotFound,
    KeyNotFound,
    LabelSetNotFound,
    MappingNotFound,
    MergeNotFound,
    ModelNotFound,
    PluginNotFound,
    ScheduleNotFound,
    SnapshotNotFound,
    UploadNotFound,
    UserNotFound,
)
#: Error → status; a class that is not listed has the status of its nearest base class.
_STATUS: dict[type, HTTPStatus] = {
    **dict.fromkeys(NOT_FOUND, HTTPStatus.NOT_FOUND),
    Stale: HTTPStatus.PRECONDITION_FAILED,
    UploadTooLarge: HTTPStatus(413),
    NameTaken: HTTPStatus.CONFLICT,
    JobError: HTTPStatus.CONFLICT,
    ChangedMeanwhile: HTTPStatus.CONFLICT,
    DataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    BackboneUnavailable: HTTPStatus.UNPROCESSABLE_ENTITY,
    BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
    PluginError: HTTPStatus.SERVICE_UNAVAILABLE,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}
#: Most problems with fields in one response.
_MOST_FIELDS = 20


@contextmanager
def request_errors(*, in_body: bool = False, in_path: tuple[type[SegadminError], ...] = ()) -> Iterator[None]:
    """Answer errors that only a request can cause with 422; those of the server have refused its start.

    Args:
        in_body: what the request names is in its body, so that a name of nothing is no wrong address.
        in_path: errors about what is named by the address all the same.
    """
    try:
        yield
    except (InvalidSettings, UploadTooLarge, *in_path):
        raise
    except (ConfigurationError, DataError, PluginNotFound) as error:
        if in_body or not isinstance(error, (*NOT_FOUND, NameTaken)):
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, mask_secrets(str(error))) from error
        raise


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the response for an error."""
    headers: dict[str, str] = {}
    fields: Sequence[FieldProblem] = ()
    if isinstance(error, StarletteHTTPException):
        status, detail, headers = HTTPStatus(error.status_code), error.detail, dict(error.headers or {})
    elif isinstance(error, RequestValidationError):
        fields = _fields(error)
        status, detail = _invalid(request, error, fields)
    else:
        status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
        detail = _detail(request, status, error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", "10")
    cause = error.__cause__ if isinstance(error, StarletteHTTPException) else error
    name = type(cause).__name__ if isinstance(cause, SegadminError) else ""
    return answer(request, status, detail, headers, fields=fields, error=name)


def answer(
    request: Request,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    fields: Sequence[FieldProblem] = (),
    error: str = "",
) -> Response:
    """Return a problem as ``application/problem+json``, or as HTML if the client accepts it."""
    title, detail = HTTPStatus(status).phrase, printable(detail)
    if "text/html" in request.headers.get("accept", ""):
        return html_response(problem.page(title, detail, reader_of(request)), status, headers)
    facts = HttpProblem(
        type="about:blank",
        title=title,
        status=int(status),
        detail=detail,
        error=error or None,
        errors=list(fields),
        request_id=request_id(request.scope),
    )
    return JSONResponse(facts.model_dump(mode="json"), int(status), headers, media_type="application/problem+json")


def problem_responses(refusals: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of errors: status → the reason for it."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/HttpProblem"}}}
    return {status: {"description": reason, "content": content} for status, reason in sorted(refusals.items())}


def _detail(request: Request, status: HTTPStatus, error: Exception) -> str:
    """Return what a response says of an error; the log says what the response must not."""
    if status not in GENERIC_DETAILS:
        return mask_secrets(str(error))
    if isinstance(error, SegadminError):  # the traceback of other errors is logged already
        path = logged_path(quote(request.scope["path"]))
        log.error("%s %s: %s", request.method, path, error, extra={"action": "answer"})
    return next((FIXES[kind] for kind in type(error).__mro__ if kind in FIXES), GENERIC_DETAILS[status])


def _invalid(request: Request, error: RequestValidationError, fields: Sequence[FieldProblem]) -> tuple[HTTPStatus, str]:
    """Return the status and the detail for wrong parameters: those of paths and pages are addresses of nothing."""
    if not request.url.path.startswith("/v1/") or any(each["loc"][0] == "path" for each in error.errors()):
        return HTTPStatus.NOT_FOUND, f"There is nothing at {request.url.path}."
    first = f"{fields[0].field}: {fields[0].message}." if fields else "The request is not as described."
    more = f" There are {len(fields) - 1} more problems, see errors." if len(fields) > 1 else ""
    return HTTPStatus.UNPROCESSABLE_ENTITY, first + more


def _fields(error: RequestValidationError) -> list[FieldProblem]:
    problems = []
    for each in error.errors()[:_MOST_FIELDS]:
        place, *names = each["loc"]
        name = ".".join(map(str, names)) or f"the {place}"
        message = mask_secrets(str(each["msg"]).removeprefix("Value error, ").rstrip("."))
        problems.append(FieldProblem(field=printable(name), message=printable(message)))
    return problems
