"""Authentication by a key: as ``Authorization: Bearer seg_…`` or, for pages, as a password of basic authentication."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from segadmin.storage import api_keys
from segadmin.storage.records import ApiKey, Scope
from segadmin_api.http.guesses import Guesses

_bearer = HTTPBearer(auto_error=False, description="Made by `segadmin keys create NAME`.")
_basic = HTTPBasic(auto_error=False)
_AS_PASSWORD = "as the password, under any user name"  # noqa: S105  (not a password)
_CHALLENGE = 'Basic realm="segadmin: any user, a key as the password"'
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
Basic = Annotated[HTTPBasicCredentials | None, Depends(_basic)]


def require_events_key(request: Request, bearer: Bearer) -> str:
    """Return the name of the request's key, which must allow sending events.

    Raises:
        HTTPException: 401 without such a key, 429 after too many wrong ones.
    """
    how = "Authorization: Bearer seg_…"
    return _authorize(request, bearer.credentials if bearer else "", Scope.EVENTS, how, "Bearer")


def require_segments_key(request: Request, bearer: Bearer) -> str:
    """Return the name of the request's key, which must allow reading segments.

    Raises:
        HTTPException: 401 without such a key, 429 after too many wrong ones.
    """
    how = "Authorization: Bearer seg_…"
    return _authorize(request, bearer.credentials if bearer else "", Scope.SEGMENTS, how, "Bearer")


def require_pages_key(request: Request, bearer: Bearer, basic: Basic) -> str:
    """Return the name of the request's key, which must allow reading pages.

    Only for requests without side effects: browsers also send passwords with requests that other sites cause.

    Raises:
        HTTPException: 401 without such a key, at which browsers ask for a password; 429 after too many wrong ones.
    """
    secret = bearer.credentials if bearer else basic.password if basic else ""
    return _authorize(request, secret, Scope.PAGES, _AS_PASSWORD, _CHALLENGE)


def require_key(request: Request, bearer: Bearer, basic: Basic) -> str:
    """Return the name of the request's key, whatever it allows; raises as :func:`require_pages_key` does."""
    secret = bearer.credentials if bearer else basic.password if basic else ""
    return _authorize(request, secret, None, _AS_PASSWORD, _CHALLENGE)


def _authorize(request: Request, secret: str, scope: Scope | None, how: str, challenge: str) -> str:
    """Return the name of a key if it allows ``scope`` (``None``: anything), or raise ``HTTPException``.

    Args:
        request: the request.
        secret: the key that it holds; may be empty.
        scope: what the key must allow.
        how: how to send a key, for the error.
        challenge: the ``WWW-Authenticate`` header of the error.
    """
    key = _find_key(request, secret) if secret else None
    if key is not None and scope in {None, key.opens}:
        return key.name
    problem = f"A key is needed: {how}." if not secret else "There is no such key."
    if key is not None:
        problem = f"This key is for {key.opens}, and not for {scope}."
    command = "segadmin keys create NAME" + (f" --{scope}" if scope in {Scope.PAGES, Scope.SEGMENTS} else "")
    raise HTTPException(401, f"{problem} Make one: {command}", {"WWW-Authenticate": challenge})


def _find_key(request: Request, secret: str) -> ApiKey | None:
    """Return the record of a key, or ``None``; 429 without a lookup after too many wrong keys of the client."""
    guesses: Guesses = request.app.state.guesses
    address = request.client.host if request.client else ""
    if wait := guesses.seconds_to_wait(address, secret):
        detail = f"Too many wrong keys came from this address. Try again in {wait} seconds."
        raise HTTPException(429, detail, {"Retry-After": str(wait)})
    key = api_keys.used(request.app.state.settings, secret)
    if key is None:
        guesses.wrong(address, secret)
    else:
        guesses.right(secret)
    return key
