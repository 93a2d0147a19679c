"""Who may ask: a key in ``Authorization: Bearer seg_…``; for pages also as a password, which browsers ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from segadmin import api_keys
from segadmin.records import Opens

_bearer = HTTPBearer(auto_error=False, description="Made by `segadmin keys create NAME`.")
_basic = HTTPBasic(auto_error=False)


def known_key(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """Return the name of the request's key, which sends events, or answer 401."""
    how = "Authorization: Bearer seg_…"
    return _opened(request, given.credentials if given else "", Opens.EVENTS, how, "Bearer")


def known_reader(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> str:
    """Return the name of the key that may look, or answer 401, at which a browser asks for a user and a password.

    Only for what changes nothing: browsers send passwords along with what other sites make them send.
    """
    given = bearer.credentials if bearer else basic.password if basic else ""
    challenge = 'Basic realm="segadmin: any user, a key as the password"'
    return _opened(request, given, Opens.PAGES, "as the password, under any user name", challenge)


def _opened(request: Request, given: str, what: Opens, how: str, challenge: str) -> str:
    """Return the name of the key ``given``, if it opens ``what``; else say what is wrong with it."""
    key = api_keys.used(request.app.state.settings, given) if given else None
    if key is not None and key.opens == what:
        return key.name
    said = f"A key is needed: {how}." if not given else "There is no such key."
    if key is not None:
        said = f"This key is for {key.opens}, and not for {what}."
    mend = "segadmin keys create NAME" + (" --pages" if what == Opens.PAGES else "")
    raise HTTPException(401, f"{said} Make one: {mend}", {"WWW-Authenticate": challenge})
