"""Keys of the HTTP API: shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin.storage.records import ApiKey, Scope, utcnow

_PREFIX = "seg_"


def create(settings: Settings, name: str, scope: Scope = Scope.EVENTS) -> str:
    """Create a key called ``name`` with ``scope`` and return it. Only its digest is stored.

    Raises:
        ConfigurationError: a key of that name exists.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        with transaction(settings) as session:
            session.add(ApiKey(name=name, sha256=_digest(key), opens=scope))
    except IntegrityError:
        raise ConfigurationError(f"There is a key {name!r} already. Take another name, or revoke it first.") from None
    record(settings, "keys.create", f"key {name}", opens=scope)
    return key


def keys(settings: Settings) -> list[ApiKey]:
    """Return all keys, oldest first."""
    with transaction(settings) as session:
        return list(session.exec(select(ApiKey).order_by(col(ApiKey.created_at))).all())


def revoke(settings: Settings, name: str) -> None:
    """Delete a key, so that requests with it are refused.

    Raises:
        ConfigurationError: there is no such key.
    """
    with transaction(settings) as session:
        api_key = session.get(ApiKey, name)
        if api_key is None:
            names = session.exec(select(ApiKey.name)).all()
            raise ConfigurationError(f"There is no key {name!r}.{did_you_mean(name, names)}")
        session.delete(api_key)
    record(settings, "keys.revoke", f"key {name}")


def used(settings: Settings, key: str) -> ApiKey | None:
    """Return the record of ``key`` and update its day of last use; ``None`` if there is no such key."""
    if not key.startswith(_PREFIX):
        return None
    with transaction(settings) as session:
        api_key = session.exec(select(ApiKey).where(ApiKey.sha256 == _digest(key))).first()
        if api_key is None:
            return None
        today = utcnow().replace(hour=0, minute=0, second=0, microsecond=0)
        if api_key.last_used is None or api_key.last_used < today:  # at most one write a day
            api_key.last_used = today
        return api_key


def _digest(key: str) -> str:
    # No salt and no key stretching: a key of 256 random bits cannot be guessed.
    return hashlib.sha256(key.encode()).hexdigest()
