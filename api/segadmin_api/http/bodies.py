"""The body of a request: reads it up to a size limit, and decompresses it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

#: A larger body is refused; applies to the compressed and to the decompressed body.
MOST_BYTES = 10 * 2**20
#: Maximum bytes of all bodies in memory.
MOST_HELD = 8 * MOST_BYTES
#: Maximum number of nested encodings; each may need memory up to the limit.
_MOST_ENCODINGS = 3
#: Maximum number of streams one after another, as some programs write them; empty ones take time and give nothing.
_MOST_STREAMS = 1_000
#: Compressed bytes that are decompressed at a time. They yield at most a few MiB in all formats, so that the limit is
#: never exceeded by much.
_SLICE = 256
#: The maximum window size of a zstd frame by RFC 9659.
_WINDOW_BYTES = 8 * 2**20


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, /) -> bytes: ...


class BodyMemory:
    """The memory limit for bodies, shared by the requests of a process; used only on the event loop."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most, self._held = most, 0

    @contextmanager
    def lease(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that reserves a number of bytes; all are released at the end.

        Raises:
            HTTPException: 503, from the yielded function, if the limit is exceeded.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self._held + size > self._most:
                raise HTTPException(503, "The server has too many bodies to read at the moment. Send it again later.")
            taken += size
            self._held += size

        try:
            yield take
        finally:
            self._held -= taken


async def read_body(request: Request, take: Callable[[int], None] = lambda _: None, most: int = MOST_BYTES) -> bytes:
    """Return the body of ``request`` as received, still compressed.

    Args:
        request: the request.
        take: called with the size of each chunk before it is stored; see :meth:`BodyMemory.lease`.
        most: bytes that it may have.

    Raises:
        HTTPException: 413 if it is too large, 400 if the client disconnects before its end.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            take(len(chunk))
            body += chunk
            _check_size(body, most)
    except ClientDisconnect:
        raise HTTPException(400, "The body did not come to its end.") from None
    return bytes(body)


def unpack(body: bytes, encodings: Sequence[str], most: int = MOST_BYTES) -> bytes:
    """Return the decompressed body, which has at most so many bytes.

    Raises:
        HTTPException: 413 if it is too large; 400 if it is not in the stated encoding, or incomplete.
    """
    for encoding in reversed(encodings):
        body = _unpack(body, encoding)
    _check_size(body, most)
    return body


def encodings_of(request: Request) -> list[str]:
    """Return the encodings of the body, in the order in which they were applied.

    Raises:
        HTTPException: 415 if one is not supported, or if there are too many.
    """
    listed = ",".join(request.headers.getlist("content-encoding")).split(",")
    encodings = [name.strip().lower().removeprefix("x-") for name in listed]
    encodings = [name for name in encodings if name not in {"", "identity"}]
    unknown = [name for name in encodings if name not in _STREAMS]
    if unknown or len(encodings) > _MOST_ENCODINGS:
        supported = ", ".join(_STREAMS)
        what = f"The Content-Encoding {unknown[0][:40]!r}" if unknown else "So many encodings on top of each other"
        detail = f"{what} cannot be read. Send the body as it is, or in one of: {supported}."
        raise HTTPException(415, detail, {"Accept-Encoding": supported})
    return encodings


def _unpack(packed: bytes, encoding: str) -> bytes:
    """Return the decompressed data; gzip and zstd allow several concatenated streams."""
    unpacked, view, streams = bytearray(), memoryview(packed), 1
    stream = _STREAMS[encoding](packed)
    try:
        for start in range(0, len(packed), _SLICE):
            rest: bytes | memoryview = view[start : start + _SLICE]
            while rest:
                if stream.eof:
                    stream, streams = _STREAMS[encoding](packed), streams + 1
                    if streams > _MOST_STREAMS:
                        raise HTTPException(400, f"The body has more than {_MOST_STREAMS:,} {encoding} streams.")
                unpacked += stream.decompress(rest)
                _check_size(unpacked)
                rest = stream.unused_data
    except (zlib.error, _zstd_error()) as error:
        raise HTTPException(400, f"The body is not {encoding}: {error}.") from None
    if not stream.eof:
        raise HTTPException(400, f"The body is not whole: its {encoding} data end early.")
    return bytes(unpacked)


def _check_size(body: bytes | bytearray, most: int = MOST_BYTES) -> None:
    if len(body) > most:
        raise HTTPException(413, too_large(most))


def too_large(most: int = MOST_BYTES) -> str:
    """Return the error message for a body of more bytes."""
    size = f"{most >> 20} MiB" if most >= 2**20 else f"{most >> 10} KiB"
    return f"The body is larger than {size}. Send several."


def _inflate(packed: bytes) -> _Stream:
    """Return a decompressor of ``deflate``: with the zlib header or, as some clients send it, without."""
    has_header = len(packed) > 1 and packed[0] & 0x0F == 8 and (packed[0] << 8 | packed[1]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _gunzip(_: bytes) -> _Stream:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _unzstd(_: bytes) -> ZstdDecompressionObj:
    from zstandard import ZstdDecompressor

    return ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj()


def _zstd_error() -> type[Exception]:
    from zstandard import ZstdError

    return ZstdError


_STREAMS: dict[str, Callable[[bytes], _Stream]] = {"gzip": _gunzip, "deflate": _inflate, "zstd": _unzstd}
