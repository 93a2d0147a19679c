"""The tables of pages as files: a page with ``?csv=2`` is its second table, for whoever may open the page."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.datastructures import Headers

from segadmin.errors import StorageError
from segadmin_api.dashboard.tables import PageTable, as_csv, read_table
from segadmin_api.http.html import attachment
from segadmin_api.http.readers import TABLE
from segadmin_api.http.request_ids import HEADER as REQUEST_ID
from segadmin_api.http.request_ids import request_id

log = logging.getLogger(__name__)
#: Excel needs it to read UTF-8.
_BYTE_ORDER_MARK = "\ufeff"
#: In the state of a request: its page is read here, and not sent.
_PART = "is_part_of_table"
#: What a routed request holds about its own route.
_OF_ROUTE = ("app", "endpoint", "path_params", "route", "router", "state")


def wants_table(request: Request) -> bool:
    """Return whether a request asks for a table of a page, and not for a page that :func:`_load` reads."""
    return request.method == "GET" and TABLE in request.query_params and not hasattr(request.state, _PART)


def table_response(request: Request, page: Response) -> Response:
    """Return the table that a request asks for as a file; ``page`` if it is none, such as the way to the login.

    A list that continues on further pages is sent whole, a page at a time.

    Raises:
        HTTPException: 404 if the page has no such table, 422 if the number is none.
    """
    number = _number(request)
    if page.status_code != 200 or not isinstance(page, HTMLResponse):
        return page
    read = read_table(bytes(page.body).decode(), number)
    if read is None:
        raise HTTPException(404, f"This page has no table {number} any more. Load it again.")
    title, table = read
    headers = attachment(_file_name(title, table.heading))
    return StreamingResponse(_lines(request, table, number), media_type="text/csv; charset=utf-8", headers=headers)


def _number(request: Request) -> int:
    text = request.query_params[TABLE]
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise HTTPException(422, f"csv={text[:20]!r} is not the number of a table, counted from 1.")
    return int(text)


def _file_name(title: str, heading: str) -> str:
    """Return the name of a file that says what is in it."""
    words = "-".join(dict.fromkeys(part for part in ("segadmin", title, heading) if part))
    return re.sub(r"[^\w.]+", "-", words).strip("-")[:100] + ".csv"


async def _lines(request: Request, table: PageTable, number: int) -> AsyncIterator[str]:
    yield _BYTE_ORDER_MARK + as_csv(table.rows)
    seen, query = set[str](), urlsplit(table.more).query
    while query and query not in seen:
        seen.add(query)
        read = await run_in_threadpool(read_table, await _load(request, query), number)
        if read is None:
            return
        yield as_csv(read[1].body)
        query = urlsplit(read[1].more).query


async def _load(request: Request, query: str) -> str:
    """Return another page of a list, as its reader gets it.

    Raises:
        StorageError: it cannot be had. The file then ends in the middle, which browsers report.
    """
    wanted = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != TABLE]
    wanted.append((TABLE, request.query_params[TABLE]))
    scope = {name: value for name, value in request.scope.items() if name not in _OF_ROUTE}
    scope = {name: value for name, value in scope.items() if not name.startswith("fastapi")}
    scope["query_string"] = urlencode(wanted).encode()
    scope["state"] = {REQUEST_ID: request_id(request.scope), _PART: True}
    while True:
        status, headers, html = await _call(request.app, scope)
        if status == 200:
            return html
        if status != 429:
            log.warning("a list ends in the middle", extra={"action": "csv", "status": status})
            raise StorageError(f"A further page of {request.url.path} cannot be had: status {status}.")
        await asyncio.sleep(float(headers.get("retry-after", 1)))


async def _call(app: Any, scope: dict[str, Any]) -> tuple[int, Headers, str]:
    """Call the application as a client would, and return status, headers and content."""
    status, headers, content = 500, Headers(), bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], Headers(raw=message["headers"])
        content.extend(message.get("body", b""))

    await app({**scope, "state": {**scope["state"]}}, receive, send)
    return status, headers, content.decode()
