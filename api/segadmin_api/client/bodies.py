"""What is sent and received as bytes: the arguments of httpx for a call, and files in pieces."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from segadmin.errors import ConfigurationError, DataError
from segadmin_api.client.call import Call

#: Bytes of a file that are sent at a time.
_PIECE = 2**20


def request_of(call: Call[Any]) -> Mapping[str, Any]:
    """Return the arguments of httpx for a call, without the content of its file."""
    headers = dict(call.headers)
    if call.file is not None:
        headers |= {"Content-Length": str(_size(call.file)), "Content-Type": "application/octet-stream"}
    query = {name: value for name, value in call.query.items() if value is not None}
    return {"method": call.method, "url": call.path, "params": query, "json": call.body, "headers": headers}


def file_pieces(path: Path, call: Call[Any]) -> Iterator[bytes]:
    """Yield the pieces of the file that a call sends, and tell the progress.

    Raises:
        DataError: it cannot be read, or became shorter or longer meanwhile.
    """
    sent, size = 0, _size(path)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
                sent += len(piece)
                if call.progress is not None:
                    call.progress(sent, size)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


@contextmanager
def saving(out: Path) -> Iterator[IO[bytes]]:
    """Yield a file that becomes ``out`` when it is complete.

    Raises:
        ConfigurationError: it cannot be written.
    """
    draft: Path | None = None
    try:
        with NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
            draft = Path(file.name)
            yield file
        os.replace(draft, out)  # noqa: PTH105  (a path that exists is replaced)
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}. Name a folder that exists.") from None
    finally:
        if draft is not None:
            with suppress(OSError):
                draft.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
