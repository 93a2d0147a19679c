"""Receives files: written to disk as they come, so that memory does not depend on their size."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from segadmin.errors import SegadminError
from segadmin.events.uploads import Draft, Upload, drop_old, keep, new_upload, too_large
from segadmin.settings import Settings
from segadmin.storage.audit import current_actor, record

log = logging.getLogger(__name__)
#: The paths that take files, with the bytes that a form has around one.
UPLOAD_PATHS = ("/v1/uploads", "/data/upload")
_AROUND = 64 * 2**10
#: Bytes that are written at a time, and bytes and number of the other fields of a form.
_WRITTEN, _MOST_TEXT, _MOST_PARTS = 2**20, 16 * 2**10, 20
_HOUR = 3600.0
#: Previews at one time in a process, and seconds to wait for a turn: each reads some thousand rows.
_PREVIEWS, _WAIT_SECONDS = 2, 30.0
_turns = threading.BoundedSemaphore(_PREVIEWS)

Fields = dict[str, str]


def limits(settings: Settings) -> dict[str, tuple[int, str]]:
    """Return path → largest body that is read at all, and why a larger one is not."""
    most = most_bytes(settings)
    return dict.fromkeys(UPLOAD_PATHS, (most + _AROUND, too_large(most)))


def most_bytes(settings: Settings) -> int:
    """Return the bytes that an upload may have."""
    return settings.web_upload_mib * 2**20


async def drop_old_hourly(settings: Settings) -> None:
    """Remove old uploads every hour; it ends only when it is cancelled."""
    while True:
        try:
            await run_in_threadpool(drop_old, settings)
        except SegadminError as error:
            log.warning("old uploads were not removed: %s", error, extra={"action": "uploads"})
        await asyncio.sleep(_HOUR)


@contextmanager
def reading_file() -> Iterator[None]:
    """Wait for a turn to read an upload.

    Raises:
        HTTPException: 503, other previews take too long.
    """
    if not _turns.acquire(timeout=_WAIT_SECONDS):
        raise HTTPException(503, "The server reads other files at the moment. Try again later.")
    try:
        yield
    finally:
        _turns.release()


async def receive_upload(
    request: Request,
    settings: Settings,
    name: str = "",
    *,
    check: Callable[[Mapping[str, str]], None] = lambda _: None,
    key: str | None = None,
) -> tuple[Upload, Fields, bool]:
    """Store the file of a request; return it with the other fields of its form, and whether it is new.

    Args:
        request: its body is the file itself, or a form (``multipart/form-data``) with one file.
        settings: location of the store.
        name: of the file, if the body is the file.
        check: called with the fields before the file, before anything is stored.
        key: idempotency key; the same file with the same key is one upload.

    Raises:
        HTTPException: 400 if the body is no form or not complete, 413 if the file is too large, 415 if it is compressed
            by a ``Content-Encoding``, 422 if there is no file or the file has no name.
        DataError, KeyReused, StorageError: see :func:`segadmin.events.uploads.keep`.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "The body is compressed. Send the file as it is; files such as orders.csv.gz may be.")
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    receiver = _Receiver(settings, check)
    async with AsyncExitStack() as stack:
        stack.callback(receiver.discard)
        if kind == b"multipart/form-data":
            await _receive_form(request, receiver, options.get(b"boundary", b""))
        else:
            if not name:
                raise HTTPException(422, "name: give the name of the file, such as ?name=orders.csv")
            check({})
            await receiver.begin(name)
            async for chunk in _chunks(request):
                await receiver.write(chunk)
        upload, created = await receiver.end(key)
    return upload, receiver.fields, created


@dataclass
class _Receiver:
    """What has come of a body."""

    settings: Settings
    check: Callable[[Mapping[str, str]], None]
    fields: Fields = field(default_factory=dict)
    draft: Draft | None = None
    _open: Any = None
    _waiting: bytearray = field(default_factory=bytearray)

    async def begin(self, name: str) -> None:
        """Begin with the file."""
        if self.draft is not None:
            raise HTTPException(422, "The form has several files. Send one.")
        self.check(self.fields)
        self._open = new_upload(self.settings, name, most_bytes(self.settings))
        self.draft = await run_in_threadpool(self._open.__enter__)

    async def write(self, chunk: bytes) -> None:
        """Take a chunk of the file."""
        self._waiting += chunk
        if len(self._waiting) >= _WRITTEN:
            await self._flush()

    async def end(self, key: str | None) -> tuple[Upload, bool]:
        """Make the file an upload; return it, and whether it is new."""
        if self.draft is None:
            raise HTTPException(422, "There is no file. Choose one.")
        await self._flush()
        upload, created = await run_in_threadpool(keep, self.settings, self.draft, current_actor(), key)
        if created:
            facts = {"bytes": upload.bytes, "sha256": upload.sha256}
            await run_in_threadpool(record, self.settings, "uploads.add", f"upload {upload.id}", **facts)
        return upload, created

    def discard(self) -> None:
        """Remove what was not made an upload."""
        if self._open is not None:
            self._open.__exit__(None, None, None)

    async def _flush(self) -> None:
        assert self.draft is not None
        written, self._waiting = self._waiting, bytearray()
        await run_in_threadpool(self.draft.write, bytes(written))


async def _receive_form(request: Request, receiver: _Receiver, boundary: bytes) -> None:
    form = _Form(boundary)
    async for chunk in _chunks(request):
        for event, content in form.parse(chunk):
            if event == "file":
                receiver.fields.update(form.fields)
                await receiver.begin(content.decode("utf-8", "replace"))
            elif event == "data":
                await receiver.write(content)
        receiver.fields.update(form.fields)
    if not form.ended:
        raise HTTPException(400, "The body did not come to its end.")
    if receiver.draft is None:
        receiver.check(receiver.fields)


class _Form:
    """Parses a form: its fields, and what comes of its file."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: Fields = {}
        self.ended = False
        self._events: list[tuple[str, bytes]] = []
        self._header, self._value, self._headers = b"", b"", dict[bytes, bytes]()
        self._field: str | None = None  #: the field whose value comes; ``None``: it is the file
        self._text, self._parts = b"", 0
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except (MultipartParseError, ValueError):
            raise HTTPException(400, "The body is not a form with a file.") from None

    def parse(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """Parse a chunk; return ``file`` with its name where the file begins, and ``data`` with parts of it."""
        self._events = []
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise HTTPException(400, "The body is not a form with a file.") from None
        return self._events

    def _begin(self) -> None:
        self._headers, self._header, self._value, self._text = {}, b"", b"", b""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise HTTPException(422, f"The form has more than {_MOST_PARTS} parts.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self._field = None
            if options[b"filename"]:  # a browser sends an empty one if no file was chosen
                self._events.append(("file", _unquoted(options[b"filename"])))
            else:
                self._field = ""
        else:
            self._field = name

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._events.append(("data", data[start:end]))
            return
        self._text += data[start:end]
        if len(self._text) > _MOST_TEXT:
            raise HTTPException(413, "A field of the form is too long.")

    def _part_end(self) -> None:
        if self._field:
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def _unquoted(name: bytes) -> bytes:
    """Return a file name as browsers encode quotes and line breaks in it."""
    return name.replace(b"%22", b'"').replace(b"%0D", b" ").replace(b"%0A", b" ")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body, chunk by chunk.

    Raises:
        HTTPException: 400, the client disconnects before its end.
    """
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise HTTPException(400, "The body did not come to its end.") from None
