"""User keys: pseudonyms that only the holder of the secret can make, and the buckets they fall in."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from functools import lru_cache

import polars as pl

from segadmin.errors import DataError
from segadmin.events.identifiers import plain_id
from segadmin.hashing import bucket_of

_HEX_DIGITS = 16


@lru_cache(maxsize=1 << 16)
def user_key(secret: bytes, user: str) -> int:
    """Return a user's key: HMAC-SHA256 under ``secret``, cut to 64 bits, as a signed integer."""
    return int.from_bytes(hmac.digest(secret, user.encode(), hashlib.sha256)[:8], "big", signed=True)


def show_key(key: int) -> str:
    """Return a key as people see it: 16 hex digits."""
    return f"{key & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def parse_key(shown: str) -> int:
    """Return the key that :func:`show_key` showed; raises ``ValueError`` if it is none."""
    return int.from_bytes(bytes.fromhex(shown.zfill(16)), "big", signed=True)


def meant_by(secret: bytes, given: str) -> list[int]:
    """Return the keys that ``given`` can mean: the shop's own id, then a key as :func:`show_key` showed it.

    An id is looked up as it would be stored, and as it is, for one that was stored in another form.

    Raises:
        DataError: it is empty, or was typed in another encoding than the terminal's.
    """
    if not plain_id(given):
        raise DataError(f"{given!r} is no user: an id must have at least one visible sign.")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise DataError(f"The user {given!r} is not UTF-8. Type it in the terminal's encoding.") from None
    keys = [user_key(secret, one) for one in dict.fromkeys((plain_id(given), given))]
    if len(given) == _HEX_DIGITS:
        with contextlib.suppress(ValueError):
            keys.append(parse_key(given))
    return keys


def keys_of(users: pl.Series, secret: bytes, buckets: int) -> pl.DataFrame:
    """Return ``user``, ``user_key`` and ``bucket`` of every distinct user; each is hashed once."""
    distinct = users.drop_nulls().unique().to_list()
    keys = [user_key(secret, user) for user in distinct]
    return pl.DataFrame(
        {"user": distinct, "user_key": keys, "bucket": [bucket_of(key, buckets) for key in keys]},
        schema={"user": pl.String, "user_key": pl.Int64, "bucket": pl.Int32},
    )
