"""Paths of this server: where a request may lead a browser, and where it is."""

from __future__ import annotations

import re
from urllib.parse import quote

from fastapi import Request

#: A path of this server: ``//host`` and ``/\\host`` would be another one.
_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def local_path(target: str) -> str:
    """Return ``target`` if it is a path of this server, else that of the first page."""
    return target if _LOCAL.fullmatch(target) else "/"


def path_of(request: Request) -> str:
    """Return the path of a request, with its query."""
    return quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
