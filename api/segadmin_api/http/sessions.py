"""Sessions of browsers: a signed cookie that stands for a key until it ends, or the key is revoked or expires.

Nothing is stored. The cookie is signed with a secret that only this store knows and with the digest of the key, so it
is worthless once the key is gone, also if another one gets its name.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response

from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.records import ApiKey

#: The cookie, the header with the session's token for changes, and the form field with the same.
COOKIE, CSRF_HEADER, CSRF_FIELD = "segadmin_session", "X-CSRF-Token", "csrf_token"
#: Seconds that a session lasts.
LIFETIME = 12 * 3600
#: Longest cookie that is looked at.
_MOST_CHARACTERS = 2_000


@dataclass(frozen=True)
class Session:
    """A session that was read from a request."""

    key: ApiKey
    token: str  #: what a request that changes something must hold

    def owns(self, token: str) -> bool:
        """Return whether ``token`` is that of this session."""
        return hmac.compare_digest(self.token.encode(), token.encode())


def begin_session(settings: Settings, key: ApiKey) -> tuple[str, str]:
    """Return the cookie and the token of a new session."""
    ends, nonce = int(time.time()) + LIFETIME, secrets.token_urlsafe(16)
    name = urlsafe_b64encode(key.name.encode()).decode()
    content = f"{name}.{ends}.{nonce}"
    return f"{content}.{_sign(settings, key, content)}", _sign(settings, key, f"token.{content}")


def read_session(settings: Settings, request: Request) -> Session | None:
    """Return the session of a request; ``None`` if it has none, or one that is over or forged."""
    cookie = request.cookies.get(COOKIE, "")
    if len(cookie) > _MOST_CHARACTERS or cookie.count(".") != 3:
        return None
    content, _, signature = cookie.rpartition(".")
    name, ends, _nonce = content.split(".")
    if not (ends.isascii() and ends.isdecimal() and len(ends) < 16 and int(ends) > time.time()):
        return None
    try:
        key = api_keys.used_by_name(settings, urlsafe_b64decode(name.encode()).decode())
    except ValueError:
        return None
    if key is None or key.has_expired:
        return None
    if not hmac.compare_digest(_sign(settings, key, content).encode(), signature.encode()):
        return None
    return Session(key, _sign(settings, key, f"token.{content}"))


def set_session(request: Request, response: Response, cookie: str) -> None:
    """Put a session into a response; an empty one ends it."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LIFETIME if cookie else 0,
        secure=is_encrypted(request),
        httponly=True,
        samesite="strict",
    )


def is_encrypted(request: Request) -> bool:
    """Return whether a browser has sent this request over HTTPS, perhaps to a proxy."""
    return request.url.scheme == "https" or bool(request.app.state.is_protected)


def _sign(settings: Settings, key: ApiKey, content: str) -> str:
    secret = hmac.digest(settings.secret(), f"session.{key.sha256}".encode(), hashlib.sha256)
    return hmac.new(secret, content.encode(), hashlib.sha256).hexdigest()
