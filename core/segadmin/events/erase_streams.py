"""Erasure of users from streams of the embedded Redis."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import polars as pl
from sqlmodel import col, select

from segadmin.errors import StorageError
from segadmin.events.erase_files import names_users
from segadmin.events.exact_json import encode
from segadmin.events.keys import show_key
from segadmin.events.named_users import NamedUsers
from segadmin.events.quarantine_users import owned, row_of_json
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Import

#: Fields of the entries that the feed ``redis-stream`` adds.
_OF_FEED = {"feed", "label_set", "sequence", "position", "user"}
_REDIS_SECONDS, _REWRITE_SECONDS = 10.0, 60.0
_BATCH = 50_000


def erase_in_streams(settings: Settings, users: NamedUsers) -> None:
    """Delete users' entries from the streams of the embedded Redis that are imported or fed, also from its file.

    Raises:
        StorageError: Redis does not run and its file names users, or it does not rewrite its file.
    """
    folder = settings.root / "redis"
    if not settings.embedded_broker or not folder.is_dir():
        return
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client: Any = redis.Redis(
        unix_socket_path=str(settings.redis_socket),
        socket_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        client.ping()
    except redis.RedisError:
        if any(names_users(path, users.distinctive) for path in folder.rglob("*") if path.is_file()):
            raise StorageError(
                f"The embedded Redis does not run, and its file in {folder} names users who are to be erased. Start "
                "it: segadmin up, and then: segadmin data forget"
            ) from None
        return
    try:
        streams = list(client.scan_iter(_type="stream"))
        ours = [
            stream
            for stream in streams
            if _erase_in_stream(settings, client, stream, users) or _erase_in_feed(client, stream, users)
        ]
        if ours:  # also without deletions, because an erasure may have been killed before this
            _rewrite(client)
    except redis.RedisError as error:
        raise StorageError(
            f"The streams of the embedded Redis may name users who are to be erased: {error}. Try again: segadmin data "
            "forget"
        ) from None
    finally:
        client.close()


def _erase_in_stream(settings: Settings, client: Any, stream: str, users: NamedUsers) -> bool:
    """Delete users' entries of a stream if it was imported; return whether it was."""
    digests = [_digest(stream, group["name"]) for group in client.xinfo_groups(stream)]
    with transaction(settings) as session:
        newest = select(Import).where(col(Import.sha256).in_(digests)).order_by(col(Import.id).desc()).limit(1)
        imported = session.exec(newest).first()
    if imported is None:  # not a stream that segadmin reads
        return False
    last = "-"
    while entries := client.xrange(stream, min=last, count=_BATCH):
        last = f"({entries[-1][0]}"
        rows = pl.Series([row_of_json(fields.get("json") or encode(fields)) for _, fields in entries], dtype=pl.String)
        erased_ids = [entries[line][0] for line in owned(rows, imported.mapping, users)["line"]]
        if erased_ids:
            client.xdel(stream, *erased_ids)
    return True


def _erase_in_feed(client: Any, stream: str, users: NamedUsers) -> bool:
    """Delete users' entries of a stream if a feed added to it, also one that was removed; return whether one did."""
    pseudonyms, last = {show_key(key) for key in users.names}, "-"
    if not any(fields.keys() >= _OF_FEED for _, fields in client.xrange(stream, count=1)):
        return False
    while entries := client.xrange(stream, min=last, count=_BATCH):
        last = f"({entries[-1][0]}"
        if erased_ids := [entry for entry, fields in entries if fields.get("user") in pseudonyms]:
            client.xdel(stream, *erased_ids)
    return True


def _digest(stream: str, group: str) -> str:
    """Return the digest that identifies imports of a stream; see ``RedisStream.identity``."""
    return hashlib.sha256(f"stream:{stream}:{group}".encode()).hexdigest()


def _rewrite(client: Any) -> None:
    """Make Redis rewrite its file without deleted entries, and wait until it is done."""
    client.config_set("aof-use-rdb-preamble", "no")  # as in redis.conf, for servers started with another value
    client.bgrewriteaof()
    deadline = time.monotonic() + _REWRITE_SECONDS
    while (info := client.info("persistence"))["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]:
        if time.monotonic() > deadline:
            raise StorageError("The embedded Redis does not rewrite its file. See home/run/redis.log")
        time.sleep(0.05)
