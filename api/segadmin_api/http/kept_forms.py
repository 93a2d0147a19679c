"""A form whose session has ended is kept on the login page, and sent after it, so that nothing is typed twice.

Only forms of this server are kept: another site could otherwise let somebody log in and send what it has written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fastapi import Request

from segadmin_api.http.local_paths import local_path
from segadmin_api.http.sessions import CSRF_FIELD

#: Characters of a form that is kept.
_MOST = 64 * 2**10
#: Fields of the login page.
PATH_FIELD, FIELDS_FIELD = "kept_path", "kept_fields"


@dataclass(frozen=True)
class KeptForm:
    """Where a form is sent, and its fields without the token."""

    path: str
    fields: Sequence[tuple[str, str]]

    @property
    def text(self) -> str:
        """The fields as one text, for a field of the login page."""
        return urlencode(self.fields)

    @classmethod
    def of(cls, request: Request, fields: Mapping[str, Sequence[str]]) -> KeptForm | None:
        """Return what is kept of a request; ``None`` if it is not from a page of this server, or too long."""
        pairs = [(name, value) for name, values in fields.items() for value in values if name != CSRF_FIELD]
        kept = cls(quote(request.url.path), pairs)
        return kept if _is_ours(request) and len(kept.text) <= _MOST else None

    @classmethod
    def read(cls, path: str, text: str) -> KeptForm | None:
        """Return what the login page has kept; ``None`` if that is nothing."""
        if not path or local_path(path) != path:
            return None
        return cls(path, [pair for pair in parse_qsl(text, keep_blank_values=True) if pair[0] != CSRF_FIELD])


def _is_ours(request: Request) -> bool:
    """Return whether a page of this server has sent a request, as its browser says."""
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host")
