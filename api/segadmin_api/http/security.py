"""Authentication and authorization: by a key as ``Authorization: Bearer seg_…``, by a session, or by a password.

Only pages take a key as a password. A session (:mod:`segadmin_api.http.sessions`) stands for the key that it was made
from. Browsers send its cookie by themselves, so a request that changes something must also hold the session's token,
which other sites cannot know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from segadmin.storage import api_keys
from segadmin.storage.audit import set_actor
from segadmin.storage.records import ROLES, ApiKey, Scope
from segadmin_api.http.guesses import Guesses, TokenBuckets
from segadmin_api.http.local_paths import path_of
from segadmin_api.http.sessions import CSRF_HEADER, Session, read_session
from segadmin_api.http.threads import SAFE, ServiceThreads

_bearer = HTTPBearer(auto_error=False, description="Made by `segadmin keys create NAME`.")
_basic = HTTPBasic(auto_error=False)
_AS_BEARER = "Authorization: Bearer seg_…"
_AS_PASSWORD = "as the password, under any user name, or at /login"  # noqa: S105  (not a password)
_CHALLENGE = 'Basic realm="segadmin: any user, a key as the password"'
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
Basic = Annotated[HTTPBasicCredentials | None, Depends(_basic)]


@dataclass(frozen=True)
class Requires:
    """A dependency: the request's key must give access to a scope; it becomes the actor of the audit log.

    Raises, when it is called:
        HTTPException: 401 without a valid key, 403 if it does not give access or a session's token is missing, 429
            after too many wrong keys, or requests of the key.
    """

    scope: Scope | None  #: ``None``: any key

    async def __call__(self, request: Request, bearer: Bearer) -> str:
        """Return the name of the key."""
        key = await _threads(request).run(_authenticate, request, bearer.credentials if bearer else "")
        if key is None:
            raise _unauthorized(f"A key is needed: {_AS_BEARER}.", self.scope, "Bearer")
        authorize(request, key, self.scope)
        return key.name


class RequiresPages(Requires):
    """A dependency of pages, which also takes the key as a password; for requests without side effects only.

    Browsers also send passwords with requests that other sites cause. A password of another scope is answered with 401,
    at which browsers ask for another one. Browsers without a password or a session are led to the login page.
    """

    async def __call__(self, request: Request, bearer: Bearer, basic: Basic) -> str:  # type: ignore[override]
        """Return the name of the key."""
        secret = bearer.credentials if bearer else basic.password if basic else ""
        key = await _threads(request).run(_authenticate, request, secret, _CHALLENGE)
        if key is None and "text/html" in request.headers.get("accept", ""):
            raise login_redirect(path_of(request))
        if key is None:
            raise _unauthorized(f"A key is needed: {_AS_PASSWORD}.", self.scope, _CHALLENGE)
        if secret and self.scope is not None and self.scope not in key.opens.includes:
            raise _unauthorized(_refused(key, self.scope), None, _CHALLENGE)
        authorize(request, key, self.scope)
        return key.name


def authorize(request: Request, key: ApiKey, scope: Scope | None) -> None:
    """Let a request do what ``scope`` is for; its key becomes the actor of the audit log.

    Raises:
        HTTPException: 403 if the key does not give access, 429 after too many requests of it.
    """
    if scope is not None and scope not in key.opens.includes:
        raise HTTPException(HTTPStatus.FORBIDDEN, _refused(key, scope))
    if scope in ROLES:
        _check_rate(request, key.name)
    request.state.key = key
    set_actor(f"key {key.name}")


def login_redirect(back: str) -> HTTPException:
    """Return what leads a browser to the login page, and from there to the page ``back``."""
    return HTTPException(HTTPStatus.SEE_OTHER, "Log in first.", {"Location": f"/login?{urlencode({'next': back})}"})


def find_key(request: Request, secret: str) -> ApiKey:
    """Return the record of a key.

    Raises:
        HTTPException: 401 if there is no such key, or it has expired; 429, without a lookup, after too many wrong keys
            of the client.
    """
    return _find_key(request, secret, "Bearer")


def _threads(request: Request) -> ServiceThreads:
    threads: ServiceThreads = request.app.state.threads
    return threads


def _authenticate(request: Request, secret: str, challenge: str = "Bearer") -> ApiKey | None:
    """Return the key of a request: the one it holds, or that of its session; ``None`` if it has neither."""
    if secret:
        return _find_key(request, secret, challenge)
    session = request.state.session = read_session(request.app.state.settings, request)
    if session is not None and request.method not in SAFE:
        _check_token(request, session)
    return None if session is None else session.key


def _check_token(request: Request, session: Session) -> None:
    if not session.owns(request.headers.get(CSRF_HEADER, "")):
        detail = f"A session needs its token for changes, in the header {CSRF_HEADER}. Load the page again."
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)


def _find_key(request: Request, secret: str, challenge: str) -> ApiKey:
    guesses: Guesses = request.app.state.guesses
    address = request.client.host if request.client else ""
    if wait := guesses.seconds_to_wait(address, secret):
        detail = f"Too many wrong keys came from this address. Try again in {wait} s."
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait)})
    key = api_keys.used(request.app.state.settings, secret)
    if key is None:
        guesses.wrong(address, secret)
        raise _unauthorized("There is no such key.", None, challenge)
    guesses.right(secret)
    if key.has_expired:
        raise _unauthorized(f"This key expired at {key.expires_at:%Y-%m-%d %H:%M} UTC.", key.opens, challenge)
    return key


def _check_rate(request: Request, name: str) -> None:
    """Raise 429 if a key has sent too many requests lately."""
    buckets: TokenBuckets | None = request.app.state.rates
    if buckets is None:
        return
    if wait := math.ceil(buckets.wait(name)):
        detail = f"This key sends too many requests. Try again in {wait} s."
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait)})
    buckets.take(name)


def _unauthorized(problem: str, scope: Scope | None, challenge: str) -> HTTPException:
    detail = f"{problem} Make one: {_command(scope)}"
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})


def _refused(key: ApiKey, scope: Scope) -> str:
    advice = f"Ask an administrator for one, or make one: {_command(scope)}"
    return f"This key is for {key.opens}, and not for {scope}. {advice}"


def _command(scope: Scope | None) -> str:
    """Return the command that makes a key of a scope."""
    if scope in ROLES:
        return f"segadmin keys create NAME --role {scope}"
    return "segadmin keys create NAME" + (f" --{scope}" if scope in {Scope.PAGES, Scope.SEGMENTS} else "")
