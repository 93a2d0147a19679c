"""Pages as responses."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import HTMLResponse

from segadmin_api.http.shield import HEADERS

#: What pages may load, and where their forms may be sent: to this server alone.
_OURS = "script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
_POLICY = HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'")


def html_response(html: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Return a page as a response."""
    # Values are escaped; the policy is a second protection, under which browsers run no scripts but ours.
    return HTMLResponse(html, status, {**(headers or {}), "Content-Security-Policy": f"{_POLICY}; {_OURS}"})
