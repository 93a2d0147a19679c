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
    """Return the name of the request's key, or answer 401."""
    name = api_keys.opens(request.app.state.settings, given.credentials, Opens.EVENTS) if given else None
    if name is None:
        said = "This key sends no events." if given else "A key is needed: Authorization: Bearer seg_…"
        raise HTTPException(401, f"{said} Make one: segadmin keys create NAME", {"WWW-Authenticate": "Bearer"})
    return name


def known_reader(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> str:
    """Return the name of the key that may look, or answer 401, at which a browser asks for a user and a password.

    Only for what changes nothing: browsers send passwords along with what other sites make them send.
    """
    given = bearer.credentials if bearer else basic.password if basic else ""
    name = api_keys.opens(request.app.state.settings, given, Opens.PAGES)
    if name is None:
        detail = "A key is needed as the password, under any user name. Make one: segadmin keys create NAME --pages"
        raise HTTPException(401, detail, {"WWW-Authenticate": 'Basic realm="segadmin: any user, an API key"'})
    return name
