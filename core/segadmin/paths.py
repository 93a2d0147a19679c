"""Paths and URLs: distinguishing them, and making URLs of paths."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from segadmin.errors import DataError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def local_path(where: str) -> Path | None:
    """Return the file or folder that ``where`` names; ``None`` if it is the URL of something else.

    A path is taken literally, with any characters; in a ``file://`` URL, ``%20`` is a space. If ``where`` looks like a
    URL and a file of that name exists, the result is that file.

    Raises:
        DataError: a ``file://`` URL names another machine; or the name is not UTF-8, which Polars cannot open.
    """
    if not is_utf8(where):
        raise DataError(f"{os.fsencode(where)!r} is not UTF-8, as names of files must be. Rename it.")
    if _SCHEME.match(where) is None or os.path.lexists(where):
        return Path(where)
    parts = urlsplit(where)
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise DataError(f"{where} is not the URL of a file on this machine. Give its path, or file:///its/path.")
    return Path(unquote(parts.path))


def is_utf8(name: str) -> bool:
    """Whether a file name is valid UTF-8: Python decodes other bytes to surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of a SQLite file; only ``%`` and ``?``, which SQLAlchemy interprets, are encoded."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def redis_socket_url(path: Path) -> str:
    """Return the broker URL of a Redis that listens on the unix socket ``path``."""
    return "redis+socket://" + quote(str(path))
