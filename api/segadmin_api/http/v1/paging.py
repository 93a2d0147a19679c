"""Lists in pages: each page has the cursor of the next one, in the body and as a ``Link``."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel

from segadmin_api.schemas.pages import Page

Item = TypeVar("Item", bound=BaseModel)
Row = TypeVar("Row")
#: Most items of a page, and those of a page of which nothing is said.
MOST, USUAL = 1000, 50


@dataclass(frozen=True)
class Paging:
    """Which page of a list is asked for."""

    request: Request
    response: Response
    limit: int
    cursor: str | None

    def after(self, *kinds: type) -> tuple[Any, ...] | None:
        """Return the position after which the page begins, of these types; ``None``: at the beginning.

        Raises:
            HTTPException: 422, the cursor is not one of this list.
        """
        if self.cursor is None:
            return None
        try:
            position = json.loads(urlsafe_b64decode(self.cursor.encode()))
        except (ValueError, RecursionError):
            position = None
        if not isinstance(position, list) or [type(value) for value in position] != list(kinds):
            raise HTTPException(422, "cursor: it is not from an answer of this list. Leave it out to begin anew.")
        if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in position):
            raise HTTPException(422, "cursor: it is not from an answer of this list. Leave it out to begin anew.")
        return tuple(position)

    def page(
        self, rows: Sequence[Row], convert: Callable[[Row], Item], position: Callable[[Row], Sequence[Any]]
    ) -> Page[Item]:
        """Return a page of ``rows``, which are one more than the limit if there is a next page.

        Args:
            rows: from the position of the request on.
            convert: returns the object that stands for a row.
            position: returns the position of a row, from which the next page continues.
        """
        shown, cursor = rows[: self.limit], None
        if len(rows) > self.limit:
            cursor = urlsafe_b64encode(json.dumps(list(position(shown[-1]))).encode()).decode()
            target = self.request.url.include_query_params(cursor=cursor)
            self.response.headers["Link"] = f'<{target.path}?{target.query}>; rel="next"'
        return Page(items=[convert(row) for row in shown], next=cursor)


def _paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Most items of the page.")] = USUAL,
    cursor: Annotated[
        str | None, Query(max_length=2000, description="`next` of the page before; without: the first page.")
    ] = None,
) -> Paging:
    return Paging(request, response, limit, cursor)


Pages = Annotated[Paging, Depends(_paging)]
