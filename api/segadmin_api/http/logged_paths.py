"""Paths of requests as logs show them: short, and without users, queries and keys."""

from __future__ import annotations

import re

from segadmin.urls import mask_secrets

#: Characters of a path that are logged; segadmin's own paths are shorter.
_MOST = 200
#: Where the path of a user begins, also one written by mistake: in capitals, behind a prefix, with other slashes.
_USERS = re.compile(r"users?", re.IGNORECASE)
#: What is shown behind a user.
_ENDINGS = ("/segment", "/text", "/events", "/corrections", "/pins", "/correct", "/pin", "/withdraw", "/erasure")


def logged_path(path: str) -> str:
    """Return a path as logs show it: ``/v1/users/{user}/segment`` instead of a user's own.

    A shop's ids of users must not be in logs, whose copies no erasure reaches. The query is left out, because it may
    hold a key by mistake.

    Args:
        path: percent-encoded, perhaps with a query.
    """
    path = path.partition("?")[0]
    users = _USERS.search(path)
    if users is not None and users.end() < len(path):
        ending = next((each for each in _ENDINGS if path.endswith(each)), "")
        path = f"{path[: users.end()]}/{{user}}{ending}"
    path = mask_secrets(path)  # before the end is cut off: a part of a key does not look like one
    return path if len(path) <= _MOST else f"{path[:_MOST]}…"
