"""ETags: a change says what it believes to change (``If-Match``), so that nobody overwrites what he has not seen."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header, HTTPException

_CHAMPION = re.compile(r'"champion-(none|[0-9]{1,10})"')
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match", max_length=200, description="The `ETag` of what was read, or `*` for whatever is there now."
    ),
]


def champion_etag(champion: int | None) -> str:
    """Return the ETag of what changes with the champion of a label set."""
    return f'"champion-{"none" if champion is None else champion}"'


def expected_champion(if_match: str | None, anything: int) -> int | None:
    """Return the champion that a request expects, ``anything`` for ``*``.

    Raises:
        HTTPException: 428 if it does not say so; 412 if no answer ever had this ETag.
    """
    if if_match is None:
        detail = "If-Match is missing: send the ETag of GET /v1/models/VERSION or /v1/models/champion, or *."
        raise HTTPException(428, detail)
    if if_match.strip() == "*":
        return anything
    match = _CHAMPION.fullmatch(if_match.strip())
    if match is None:
        raise HTTPException(412, f"If-Match: {if_match!r} is no ETag of a model version. Read it again.")
    return None if match[1] == "none" else int(match[1])
