"""The files that pages load, and the preferences of whoever reads them."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, RedirectResponse

from segadmin_api.dashboard.assets import FOLDER, TYPES, asset, file_of
from segadmin_api.dashboard.reader import LANGUAGES, THEMES
from segadmin_api.http.local_paths import local_path
from segadmin_api.http.readers import LANGUAGE, THEME

_YEAR = 365 * 86_400
#: No key is needed: the login page needs the files too.
router = APIRouter(include_in_schema=False)


@router.get("/static/{digest}/{name:path}")
def static_file(digest: str, name: str) -> FileResponse:
    """Serve a script or a style; its path changes with its content.

    Under another path it is not to be kept: while servers are updated one by one, a page of a new one may ask an old
    one for a file.
    """
    path = file_of(name)
    if path is None:
        raise HTTPException(404, f"There is nothing at /static/{digest}/{name}.")
    known = path.relative_to(FOLDER.resolve()).as_posix()  # there is one, however a request writes it
    is_current = asset(known) == f"/static/{digest}/{known}"
    headers = {"Cache-Control": f"public, max-age={_YEAR}, immutable"} if is_current else {}
    return FileResponse(path, media_type=TYPES[path.suffix], headers=headers)


@router.get("/preferences")
def prefer(language: str = "", theme: str = "", back: str = "/") -> RedirectResponse:
    """Set the language or the colours of pages, and go back to the page ``back``."""
    response = RedirectResponse(local_path(back), status_code=303)
    for cookie, value, known in ((LANGUAGE, language, LANGUAGES), (THEME, theme, THEMES)):
        if value in known:
            response.set_cookie(cookie, value, max_age=_YEAR, samesite="lax", httponly=True)
    return response
