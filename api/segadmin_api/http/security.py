"""Who may ask: a key in ``Authorization: Bearer seg_…``; for pages also as a password, which browsers ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from segadmin.storage import api_keys
from segadmin.storage.records import ApiKey, Scope
from segadmin_api.http.guesses import Guesses

_bearer = HTTPBearer(auto_error=False, description="Made by `segadmin keys create NAME`.")
_basic = HTTPBasic(auto_error=False)
_AS_PASSWORD = "as the password, under any user name"  # noqa: S105  (no password itself)
_CHALLENGE = 'Basic realm="segadmin: any user, a key as the password"'
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
Basic = Annotated[HTTPBasicCredentials | None, Depends(_basic)]


def known_key(request: Request, given: Bearer) -> str:
    """Return the name of the request's key, which sends events, or answer 401."""
    how = "Authorization: Bearer seg_…"
    return _opened(request, given.credentials if given else "", Scope.EVENTS, how, "Bearer")


def known_reader(request: Request, bearer: Bearer, basic: Basic) -> str:
    """Return the name of the key that may look, or answer 401, at which a browser asks for a user and a password.

    Only for what changes nothing: browsers send passwords along with what other sites make them send.
    """
    given = bearer.credentials if bearer else basic.password if basic else ""
    return _opened(request, given, Scope.PAGES, _AS_PASSWORD, _CHALLENGE)


def known(request: Request, bearer: Bearer, basic: Basic) -> str:
    """Return the name of the key, whatever it opens, or answer 401 as :func:`known_reader` does."""
    given = bearer.credentials if bearer else basic.password if basic else ""
    return _opened(request, given, None, _AS_PASSWORD, _CHALLENGE)


def _opened(request: Request, given: str, what: Scope | None, how: str, challenge: str) -> str:
    """Return the name of the key ``given``, if it opens ``what`` (``None``: anything); else say what is wrong."""
    key = _known(request, given) if given else None
    if key is not None and what in {None, key.opens}:
        return key.name
    said = f"A key is needed: {how}." if not given else "There is no such key."
    if key is not None:
        said = f"This key is for {key.opens}, and not for {what}."
    mend = "segadmin keys create NAME" + (" --pages" if what == Scope.PAGES else "")
    raise HTTPException(401, f"{said} Make one: {mend}", {"WWW-Authenticate": challenge})


def _known(request: Request, given: str) -> ApiKey | None:
    """Return the record of the key ``given``, or ``None``; of who gave wrong ones too fast no key is looked at."""
    guesses: Guesses = request.app.state.guesses
    address = request.client.host if request.client else ""
    if wait := guesses.seconds_to_wait(address, given):
        detail = f"Too many wrong keys came from this address. Try again in {wait} seconds."
        raise HTTPException(429, detail, {"Retry-After": str(wait)})
    key = api_keys.used(request.app.state.settings, given)
    if key is None:
        guesses.wrong(address, given)
    else:
        guesses.right(given)
    return key
