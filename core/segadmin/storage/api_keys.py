"""Keys of the HTTP API: shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from sqlalchemy import bindparam
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from segadmin.errors import ConfigurationError, KeyNotFound, NameTaken, Stale, did_you_mean
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import reading, transaction
from segadmin.storage.records import ApiKey, Scope, utcnow

_PREFIX = "seg_"
#: A time of validity such as ``90d``: a number and its unit.
_VALIDITY = re.compile(r"([1-9][0-9]{0,4})([dhw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
#: Longest name of a key.
_MOST_CHARACTERS = 200
#: Made once, because every request needs one of them.
_BY_DIGEST, _BY_NAME = (
    select(ApiKey).where(col(field) == bindparam("value")) for field in (ApiKey.sha256, ApiKey.name)
)


def expiry(validity: str) -> datetime:
    """Return the end of a time of validity that begins now, such as ``12h``, ``90d`` or ``52w``.

    Raises:
        ConfigurationError: it is not of this form.
    """
    match = _VALIDITY.fullmatch(validity)
    if match is None:
        raise ConfigurationError(f"{validity!r} is no time of validity. Give hours, days or weeks: 12h, 90d or 52w.")
    return utcnow() + int(match[1]) * _UNITS[match[2]]


def create(settings: Settings, name: str, scope: Scope = Scope.EVENTS, *, expires_at: datetime | None = None) -> str:
    """Create a key called ``name`` with ``scope`` and return it. Only its digest is stored.

    Raises:
        NameTaken: a key of that name exists.
        ConfigurationError: the name is empty, too long, or has control characters.
    """
    if not name.strip() or len(name) > _MOST_CHARACTERS or not name.isprintable():
        raise ConfigurationError(
            f"{name[:_MOST_CHARACTERS]!r} is no name of a key. Use up to {_MOST_CHARACTERS} visible characters."
        )
    key = _PREFIX + secrets.token_urlsafe(32)
    api_key = ApiKey(name=name, sha256=_digest(key), opens=scope, expires_at=expires_at)
    try:
        with transaction(settings) as session:
            session.add(api_key)
            session.add(entry("keys.create", f"key {name}", before=None, after=_facts(api_key)))
    except IntegrityError:
        raise NameTaken(f"There is a key {name!r} already. Take another name, or revoke it first.") from None
    return key


def keys(settings: Settings) -> list[ApiKey]:
    """Return all keys, oldest first."""
    with reading(settings) as session:
        return list(session.exec(select(ApiKey).order_by(col(ApiKey.created_at), col(ApiKey.name))).all())


def revoke(settings: Settings, name: str, *, made: datetime | None = None) -> None:
    """Delete a key, so that requests with it are refused.

    Args:
        settings: location of the database.
        name: of the key.
        made: when it was made, if only that one is meant: another may have its name by now.

    Raises:
        KeyNotFound: there is no such key.
        Stale: the key of this name was made at another time.
    """
    with transaction(settings) as session:
        api_key = session.get(ApiKey, name)
        if api_key is None:
            names = session.exec(select(ApiKey.name)).all()
            raise KeyNotFound(f"There is no key {name!r}.{did_you_mean(name, names)}")
        if made is not None and api_key.created_at != made:
            raise Stale(f"The key {name!r} is another one, made at {api_key.created_at:%Y-%m-%d %H:%M} UTC.")
        session.delete(api_key)
        session.add(entry("keys.revoke", f"key {name}", before=_facts(api_key), after=None))


def used(settings: Settings, key: str) -> ApiKey | None:
    """Return the record of ``key`` and update its day of last use; ``None`` if there is no such key.

    An expired key is returned as it is, so that its owner can be told.
    """
    if not key.startswith(_PREFIX):
        return None
    return _used(settings, _BY_DIGEST, _digest(key))


def used_by_name(settings: Settings, name: str) -> ApiKey | None:
    """Return the record of the key called ``name``, whose owner has proved to have it; else as :func:`used`."""
    return _used(settings, _BY_NAME, name)


def is_valid(settings: Settings, api_key: ApiKey) -> bool:
    """Return whether a key that was read before is neither revoked nor expired; another may have its name by now."""
    with reading(settings) as session:
        current = session.get(ApiKey, api_key.name)
    return current is not None and current.sha256 == api_key.sha256 and not current.has_expired


def _used(settings: Settings, query: SelectOfScalar[ApiKey], value: str) -> ApiKey | None:
    wanted = {"value": value}
    today = utcnow().replace(hour=0, minute=0, second=0, microsecond=0)
    with reading(settings) as session:
        api_key = session.exec(query, params=wanted).first()
    if api_key is None or api_key.has_expired or (api_key.last_used is not None and api_key.last_used >= today):
        return api_key
    with transaction(settings) as session:  # at most one write a day
        api_key = session.exec(query, params=wanted).first()
        if api_key is not None:
            api_key.last_used = today
        return api_key


def _facts(api_key: ApiKey) -> dict[str, str | None]:
    """Return what the audit log keeps of a key."""
    return {"opens": api_key.opens, "expires_at": api_key.expires_at.isoformat() if api_key.expires_at else None}


def _digest(key: str) -> str:
    # No salt and no key stretching: a key of 256 random bits cannot be guessed.
    return hashlib.sha256(key.encode()).hexdigest()
