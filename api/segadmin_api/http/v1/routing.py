"""What all resources share: routes that read bounded bodies, and the errors that requests cause."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from pydantic import BaseModel

from segadmin.settings import Settings
from segadmin.storage.records import Scope
from segadmin_api.http.bodies import read_body
from segadmin_api.http.problems import problem_responses, request_errors
from segadmin_api.http.security import Requires
from segadmin_api.http.threads import SAFE, ThreadedRoute
from segadmin_api.schemas.jobs import Enqueued

#: Bytes of a body: more than any request for a job has.
MOST_BYTES = 2**20
REFUSALS = {
    401: "The key is missing, unknown or expired.",
    403: "The key does not give access to this.",
    404: "There is no such thing.",
    422: "A parameter or a field is not as described; `errors` names it.",
    429: "Too many requests of this key, or too many wrong keys came from this address; `Retry-After` gives the "
    "seconds to wait.",
    503: "The database, the store or the broker cannot be used at the moment.",
}
_OF_BODIES = {
    409: "It is in a state that does not allow this, or somebody changed it at the same time.",
    413: f"The body is larger than {MOST_BYTES >> 20} MiB.",
    415: "The body is compressed, which is not supported here.",
}


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="The same request with the same key has its effect once; another request is an error (409).",
    ),
]


class Route(ThreadedRoute):
    """A route whose body is bounded, and JSON that can be stored; errors of the request are the client's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that handles a request."""
        handle = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
            if request.method not in SAFE:
                request = await _with_body(request)
            with request_errors():
                return await handle(request)

        return handle_bounded


def router(prefix: str, tag: str) -> APIRouter:
    """Return the router of a resource."""
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], route_class=Route, responses=problem_responses(REFUSALS))


def changes(*, more: dict[int, str] | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the description of the errors of a route that changes something."""
    return problem_responses({**_OF_BODIES, **(more or {})})


def enqueues() -> dict[int | str, dict[str, Any]]:
    """Return the description of the answers, other than 201, of a route that enqueues a job under a key."""
    return once(Enqueued)


def once(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the description of the answers, other than 201, of a route that makes something once per key."""
    known = {"description": "What an earlier request with this key has made.", "model": model}
    return {200: known, **changes()}


def allow(scope: Scope | None) -> Any:
    """Return the dependency of a route on a scope; ``None``: on any key."""
    return Depends(Requires(scope))


def check_scope(request: Request, scope: Scope, what: str) -> None:
    """Refuse what only keys of another scope than the route's may do.

    Raises:
        HTTPException: 403.
    """
    if detail := scope_problem(request, scope, what):
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)


def scope_problem(request: Request, scope: Scope, what: str) -> str:
    """Return why the key of a request may not do what needs a scope; empty if it may."""
    opens: Scope = request.state.key.opens
    return "" if scope in opens.includes else f"{what} needs a key for {scope}, and this one is for {opens}."


def settings_of(request: Request) -> Settings:
    """Return the settings of the application."""
    settings: Settings = request.app.state.settings
    return settings


async def _with_body(request: Request) -> Request:
    """Return the request with its body read, as JSON.

    Raises:
        HTTPException: 413 if it is too large, 415 if it is compressed, 422 if it cannot be stored as JSON.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "The body is compressed. Send it as it is.", {"Accept-Encoding": "identity"})
    with request.app.state.body_memory.lease() as take:
        body = await read_body(request, take, MOST_BYTES)
    if body:
        _check_json(body)
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    # JSON is read whatever its content type, as curl and beacons send it. No other site can make use of that: a session
    # needs its token in a header.
    headers = [header for header in request.scope["headers"] if header[0] != b"content-type"]
    return Request({**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}, receive)


def _check_json(body: bytes) -> None:
    """Refuse JSON that Python reads and a database does not store: NaN, NUL and halves of characters."""
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"The body is not JSON that can be stored: {error}.") from None
    if "\\u0000" in text.replace("\\\\", ""):
        raise HTTPException(422, "The body has a NUL character in a text, which cannot be stored. Leave it out.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
