"""User keys: pseudonyms that only the holder of the secret can compute, and their buckets."""

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
    """Return a user's key: HMAC-SHA256 under ``secret``, truncated to 64 bits, as a signed integer."""
    return int.from_bytes(hmac.digest(secret, user.encode(), hashlib.sha256)[:8], "big", signed=True)


def show_key(key: int) -> str:
    """Return a key as a pseudonym of 16 hex digits."""
    return f"{key & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def parse_key(pseudonym: str) -> int:
    """Return the key of a pseudonym from :func:`show_key`; raises ``ValueError`` if it is not one."""
    return int.from_bytes(bytes.fromhex(pseudonym.zfill(16)), "big", signed=True)


def candidate_keys(secret: bytes, user_or_key: str) -> list[int]:
    """Return the keys that ``user_or_key`` may stand for: those of the shop's id, then that of a pseudonym.

    The id is looked up in its cleaned form, and unchanged for ids that were stored without cleaning.

    Raises:
        DataError: it is empty, or was entered in an encoding other than the terminal's.
    """
    if not plain_id(user_or_key):
        raise DataError(f"{user_or_key!r} is not a user: an id must have at least one visible character.")
    try:
        user_or_key.encode()
    except UnicodeEncodeError:
        raise DataError(f"The user {user_or_key!r} is not UTF-8. Type it in the terminal's encoding.") from None
    keys = [user_key(secret, user) for user in dict.fromkeys((plain_id(user_or_key), user_or_key))]
    if len(user_or_key) == _HEX_DIGITS:
        with contextlib.suppress(ValueError):
            keys.append(parse_key(user_or_key))
    return keys


def keys_of(users: pl.Series, secret: bytes, buckets: int) -> pl.DataFrame:
    """Return ``user``, ``user_key`` and ``bucket`` of every distinct user, hashing each once."""
    distinct = users.drop_nulls().unique().to_list()
    keys = [user_key(secret, user) for user in distinct]
    return pl.DataFrame(
        {"user": distinct, "user_key": keys, "bucket": [bucket_of(key, buckets) for key in keys]},
        schema={"user": pl.String, "user_key": pl.Int64, "bucket": pl.Int32},
    )
