"""Stores that hold nothing yet: all that the engine asks of one."""

from __future__ import annotations

from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Store


def empty_store(settings: Settings, buckets: int = 8) -> None:
    """Bring the schema up to date and write down a store of ``buckets`` buckets."""
    database.upgrade(settings)
    with transaction(settings) as session:
        session.add(Store(buckets=buckets, key_fingerprint="0" * 16))
