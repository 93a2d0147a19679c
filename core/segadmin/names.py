"""Checks of names that users choose: their length, which file systems limit, and invisible characters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from segadmin.errors import DataError
from segadmin.invisible import INVISIBLE

#: Limits of a name in characters, and in bytes when percent-encoded as a folder; file systems allow 255.
_MAX_LENGTH, _MAX_ENCODED = 100, 200
_FORBIDDEN = re.compile(rf"{INVISIBLE}|[\t\n\v\f\r\u2028\u2029\ud800-\udfff]")


def check_name(what: str, name: str) -> None:
    """Check a name before it is used.

    Raises:
        DataError: it is empty, too long or has invisible characters; the message names ``what`` it is for.
    """
    shown = f"The name of a {what}, {name[:_MAX_LENGTH]!r}{'…' if len(name) > _MAX_LENGTH else ''},"
    if not name.strip() or name != name.strip():
        raise DataError(f"{shown} is empty, or begins or ends with spaces. Choose another.")
    if _FORBIDDEN.search(name):
        raise DataError(f"{shown} has line breaks or invisible characters. Choose another.")
    if len(name) > _MAX_LENGTH or len(quote(name, safe="")) > _MAX_ENCODED:
        raise DataError(
            f"{shown} has {len(name):,} characters. At most {_MAX_LENGTH} Latin letters, or about {_MAX_ENCODED // 9} "
            "Chinese ones, can be used: shorten it."
        )


def check_names(what: str, names: Iterable[str]) -> None:
    """Check several names: see :func:`check_name`."""
    for name in names:
        check_name(what, name)
