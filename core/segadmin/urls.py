"""URLs as people may see them."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"""(://)[^/\s'"]*@""")


def without_login(text: str) -> str:
    """Return ``text`` without the user and the password of any URL in it."""
    return _LOGIN.sub(r"\1", text)
