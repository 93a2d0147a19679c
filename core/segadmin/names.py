"""Names that people give: short enough for the folders that hold them, and nothing in them that nobody sees."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from segadmin.errors import DataError
from segadmin.invisible import INVISIBLE

#: Characters of a name, and bytes of it as a folder of Delta Lake writes it: names of files have at most 255.
_LONGEST, _LONGEST_WRITTEN = 100, 200
_UNSEEN = re.compile(rf"{INVISIBLE}|[\t\n\v\f\r\u2028\u2029\ud800-\udfff]")


def check_name(what: str, name: str) -> None:
    """Check a name before anything is written under it.

    Raises:
        DataError: it is empty or too long, or has signs that are not seen; naming it and ``what`` it is for.
    """
    shown = f"The name of a {what}, {name[:_LONGEST]!r}{'…' if len(name) > _LONGEST else ''},"
    if not name.strip() or name != name.strip():
        raise DataError(f"{shown} is empty, or begins or ends with spaces. Choose another.")
    if _UNSEEN.search(name):
        raise DataError(f"{shown} has line breaks or signs that nobody sees. Choose another.")
    if len(name) > _LONGEST or len(quote(name, safe="")) > _LONGEST_WRITTEN:
        raise DataError(
            f"{shown} has {len(name):,} characters. At most {_LONGEST} Latin letters, or about {_LONGEST_WRITTEN // 9} "
            "Chinese ones, can be used: shorten it."
        )


def check_names(what: str, names: Iterable[str]) -> None:
    """Check several names: see :func:`check_name`."""
    for name in names:
        check_name(what, name)
