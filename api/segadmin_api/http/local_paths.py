"""Where a request may lead a browser: to another path of this server, and nowhere else."""

from __future__ import annotations

import re

#: A path of this server: ``//host`` and ``/\\host`` would be another one.
_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def local_path(target: str) -> str:
    """Return ``target`` if it is a path of this server, else that of the first page."""
    return target if _LOCAL.fullmatch(target) else "/"
