"""Request ids: of the client's choice or made here; in the response, in problems, and in every line of the log."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers
from starlette.types import Scope

HEADER = "X-Request-Id"
#: An id that is taken from a client: it must not disturb a log.
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def request_id(scope: Scope) -> str:
    """Return the id of a request, the same whenever it is asked for."""
    state = scope.setdefault("state", {})
    if HEADER not in state:
        given = Headers(scope=scope).get(HEADER, "")
        state[HEADER] = given if _SANE.fullmatch(given) else uuid.uuid4().hex
    known: str = state[HEADER]
    return known
