"""``/openapi.json``: the description of the API."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from segadmin_api.http.pages.routes import pages_router

router = pages_router(None)


@router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """Describe the API."""
    return JSONResponse(request.app.openapi())
