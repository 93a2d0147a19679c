"""Pages as responses."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import HTMLResponse

from segadmin_api.http.shield import HEADERS


def html_response(
    html: str, status: int = 200, headers: Mapping[str, str] | None = None, *, has_form: bool = False
) -> HTMLResponse:
    """Return a page as a response; its forms may be sent to this server if it ``has_form``."""
    # Values are escaped; the policy is a second protection, under which browsers run no scripts.
    policy = f"{HEADERS['Content-Security-Policy']}; style-src 'unsafe-inline'"
    if has_form:
        policy = policy.replace("form-action 'none'", "form-action 'self'")
    return HTMLResponse(html, status, {**(headers or {}), "Content-Security-Policy": policy})
