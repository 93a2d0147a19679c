"""Pages as responses."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import HTMLResponse

from segadmin_api.http.shield import HEADERS

#: What pages may load.
_OURS = "script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"


def html_response(
    html: str, status: int = 200, headers: Mapping[str, str] | None = None, *, has_form: bool = False
) -> HTMLResponse:
    """Return a page as a response; its forms may be sent to this server if it ``has_form``."""
    # Values are escaped; the policy is a second protection, under which browsers run no scripts but ours.
    policy = (
        f"{HEADERS['Content-Security-Policy']}; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
    )
    if has_form:
        policy = policy.replace("form-action 'none'", "form-action 'self'")
    return HTMLResponse(html, status, {**(headers or {}), "Content-Security-Policy": policy})
