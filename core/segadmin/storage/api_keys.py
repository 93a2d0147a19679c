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
from segadmin.storage.records import ApiKey, Opens, utcnow

_PREFIX = "seg_"


def create(settings: Settings, name: str, what: Opens = Opens.EVENTS) -> str:
    """Make a key called ``name`` that opens ``what``, and return it: this is the only time that it can be seen.

    Raises:
        ConfigurationError: there is a key of that name.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        with transaction(settings) as session:
            session.add(ApiKey(name=name, sha256=_digest(key), opens=what))
    except IntegrityError:
        raise ConfigurationError(f"There is a key {name!r} already. Take another name, or revoke it first.") from None
    record(settings, "keys.create", f"key {name}", opens=what)
    return key


def keys(settings: Settings) -> list[ApiKey]:
    """Return all keys, the oldest first."""
    with transaction(settings) as session:
        return list(session.exec(select(ApiKey).order_by(col(ApiKey.created_at))).all())


def revoke(settings: Settings, name: str) -> None:
    """Let a key open nothing any more.

    Raises:
        ConfigurationError: there is no such key.
    """
    with transaction(settings) as session:
        found = session.get(ApiKey, name)
        if found is None:
            names = session.exec(select(ApiKey.name)).all()
            raise ConfigurationError(f"There is no key {name!r}.{did_you_mean(name, names)}")
        session.delete(found)
    record(settings, "keys.revoke", f"key {name}")


def used(settings: Settings, key: str) -> ApiKey | None:
    """Return the record of ``key``, noting that it was used; ``None`` where there is no such key."""
    if not key.startswith(_PREFIX):
        return None
    with transaction(settings) as session:
        found = session.exec(select(ApiKey).where(ApiKey.sha256 == _digest(key))).first()
        if found is None:
            return None
        today = utcnow().replace(hour=0, minute=0, second=0, microsecond=0)
        if found.last_used is None or found.last_used < today:  # to the day: a request writes nothing else
            found.last_used = today
        return found


def _digest(key: str) -> str:
    # No salt and no stretching: the key is 256 random bits, which nobody guesses.
    return hashlib.sha256(key.encode()).hexdigest()
