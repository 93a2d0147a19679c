"""The argument ``USER``, and what was probably meant if there is no such user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from segadmin.errors import UserNotFound
from segadmin.settings import Settings

User = Annotated[str, typer.Argument(metavar="USER", help="The user id of the shop, or a pseudonym of 16 hex digits.")]


@contextmanager
def suggesting(settings: Settings, user: str) -> Iterator[None]:
    """Add users with a similar id to the error that there is no such user."""
    try:
        yield
    except UserNotFound as error:
        if settings.server is not None:  # it does not tell who is known, and does not repeat the id
            from segadmin.snapshots.user import unknown_user

            raise UserNotFound(unknown_user(user)) from None
        from segadmin.events.similar_ids import close_ids
        from segadmin.storage.lake import Lake

        close = close_ids(Lake.of(settings), user)
        suggestion = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise UserNotFound(f"{error}{suggestion}") from None
