"""The login page as a response: its form has a token of its own, which is also in a cookie."""

from __future__ import annotations

import hmac
import secrets

from fastapi import Request
from fastapi.responses import Response

from segadmin_api.dashboard import login
from segadmin_api.http.html import html_response
from segadmin_api.http.kept_forms import KeptForm
from segadmin_api.http.local_paths import local_path
from segadmin_api.http.readers import reader_of
from segadmin_api.http.sessions import is_encrypted

#: The cookie with the token of the login form, and the seconds that it lasts.
COOKIE, _LIFETIME = "segadmin_login", 3600


def login_page(
    request: Request, target: str, detail: str = "", status: int = 200, kept: KeptForm | None = None
) -> Response:
    """Return the login page.

    Args:
        request: what is answered.
        target: the path to continue at.
        detail: why somebody has to log in, or could not.
        status: of the response.
        kept: the form to send after the login.
    """
    token = secrets.token_urlsafe(32)
    html = login.page(token, local_path(target), reader_of(request), detail, kept)
    response = html_response(html, status)
    response.set_cookie(
        COOKIE,
        token,
        max_age=_LIFETIME,
        path="/login",
        secure=is_encrypted(request),
        httponly=True,
        samesite="strict",
    )
    return response


def owns_login(request: Request, token: str) -> bool:
    """Return whether a form is from this browser's login page."""
    expected = request.cookies.get(COOKIE, "")
    return bool(expected) and hmac.compare_digest(expected.encode(), token.encode())
