"""Answers of the API have an ``ETag``; who has the same already (``If-None-Match``) gets 304 without the content.

The tag is a digest of the content, so it is right whatever changed. Routes whose tags mean something else, such as
those for ``If-Match``, set them themselves and are left alone.
"""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFIX, _JSON = "/v1/", "application/json"


class Conditional:
    """ASGI middleware for conditional requests of JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        known, start = Headers(scope=scope).get("if-none-match", ""), None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_taggable(message):
                start = message  # the tag depends on the content
                return
            if start is not None and not message.get("more_body"):
                message = _tag(start, message, known)
            if start is not None:
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_tagged)


def _is_taggable(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    is_json = headers.get("content-type", "").startswith(_JSON)
    return bool(start["status"] == 200 and is_json and "etag" not in headers)


def _tag(start: Message, body: Message, known: str) -> Message:
    """Add the tag to the head of an answer, and return its body, which is empty if the client has the same."""
    headers = MutableHeaders(raw=start["headers"])
    tag = f'W/"{hashlib.sha256(body.get("body", b"")).hexdigest()[:32]}"'
    headers["ETag"] = tag
    if known.strip() != "*" and tag.removeprefix("W/") not in {
        each.strip().removeprefix("W/") for each in known.split(",")
    }:
        return body
    start["status"] = 304
    del headers["content-length"]
    del headers["content-type"]
    return {"type": "http.response.body", "body": b""}
