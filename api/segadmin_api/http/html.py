"""Pages as responses."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from fastapi.responses import HTMLResponse

from segadmin_api.http.shield import HEADERS

#: What pages may load, and where their forms may be sent: to this server alone.
_OURS = "script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
_POLICY = HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'")


def html_response(html: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Return a page as a response."""
    # Values are escaped; the policy is a second protection, under which browsers run no scripts but ours.
    return HTMLResponse(html, status, {**(headers or {}), "Content-Security-Policy": f"{_POLICY}; {_OURS}"})


def attachment(name: str) -> dict[str, str]:
    """Return the headers of a response that browsers save as a file called ``name`` (RFC 6266), and never show."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "-_. ") else "_" for each in name)
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}
