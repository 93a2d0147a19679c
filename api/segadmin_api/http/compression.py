"""Compresses answers, unless another site may have caused the request.

BREACH learns a secret of a page from the length of its compressed form: another site lets the browser request pages
with guesses in the query, and whoever reads the network sees which guess makes the page shorter. So an answer is
compressed only where no other site can have caused the request:

- Browsers say so: ``Sec-Fetch-Site`` is ``same-origin`` or ``none``, and scripts cannot set it. Other sites also get no
  session's cookie (it is ``SameSite=Strict``), but browsers send passwords (``Authorization: Basic``) along.
- The request has a key as ``Authorization: Bearer``, which browsers never send by themselves.
- The file is the same for everybody (``/static/``).

A browser that does not say so gets its pages uncompressed.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

#: Bytes from which on it pays; and zlib's level: higher ones take twice the time for a few percent.
_LEAST_BYTES, _LEVEL = 1_000, 5
_OWN_SITE = frozenset({"same-origin", "none"})
#: Exports may be large and are often Parquet, which is compressed already.
_NOT_COMPRESSED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/vnd.apache.parquet", "application/octet-stream")


class Compression:
    """ASGI middleware that lets Starlette compress the answers of some requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, _LEAST_BYTES, _LEVEL, exclude_content_types=_NOT_COMPRESSED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        may = scope["type"] == "http" and may_be_compressed(scope["path"], Headers(scope=scope))
        await (self._compressed if may else self._app)(scope, receive, send)


def may_be_compressed(path: str, headers: Headers) -> bool:
    """Return whether the answer to a request may be compressed."""
    if path.startswith("/static/") or headers.get("sec-fetch-site") in _OWN_SITE:
        return True
    return headers.get("authorization", "").lower().startswith("bearer ")
