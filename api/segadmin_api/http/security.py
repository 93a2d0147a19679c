"""Who may ask: a key in ``Authorization: Bearer seg_…``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from segadmin import api_keys

_bearer = HTTPBearer(auto_error=False, description="Made by `segadmin keys create NAME`.")


def known_key(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """Return the name of the request's key, or answer 401."""
    name = api_keys.opens(request.app.state.settings, given.credentials) if given else None
    if name is None:
        said = "This key opens nothing." if given else "A key is needed: Authorization: Bearer seg_…"
        raise HTTPException(401, f"{said} Make one: segadmin keys create NAME", {"WWW-Authenticate": "Bearer"})
    return name
