"""Erasing users from what is on its way into the lake: posted batches, and what interrupted imports read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from segadmin.events.cells import raw_rows
from segadmin.events.inbox import Inbox
from segadmin.events.interrupted import list_read, remove, remove_empty
from segadmin.events.mapping import Mapping as Reading
from segadmin.events.named_users import NamedUsers
from segadmin.events.quarantine_users import kept_mapping, owned, row_of_json
from segadmin.settings import Settings


def drop_unfinished(settings: Settings) -> None:
    """Remove what processes that died were writing: no import reads it, and nobody can tell whom it is of."""
    Inbox.of(settings).drop_drafts()
    for one in list_read(settings):
        one.spool.drop_unfinished()


def count_waiting(settings: Settings, users: NamedUsers) -> dict[str, Counter[int]]:
    """Return how many rows of each user, by key, wait in the ``inbox`` and in the ``spool``."""
    return {"inbox": _inbox(settings, users, erase=False), "spool": _spool(settings, users, erase=False)}


def erase_waiting(settings: Settings, users: NamedUsers) -> None:
    """Erase users from what waits. What was read of files is removed as a whole: the same import reads it again."""
    _inbox(settings, users, erase=True)
    _spool(settings, users, erase=True)


def _inbox(settings: Settings, users: NamedUsers, *, erase: bool) -> Counter[int]:
    mapping = Reading.read(settings.events_mapping)
    counts: Counter[int] = Counter()
    inbox = Inbox.of(settings)
    for batch in [*inbox.batches(), *inbox.failed_batches()]:
        lines = [line for line in batch.read_bytes().decode("utf-8", "surrogateescape").split("\n") if line.strip()]
        rows = pl.Series([row_of_json(line) for line in lines], dtype=pl.String)
        mine = owned(rows, kept_mapping(mapping, settings.secret()), users)
        counts.update(mine["user_key"])
        if erase and mine.height:
            gone = set(mine["line"])
            inbox.replace(batch, [line for place, line in enumerate(lines) if place not in gone])
    if erase:
        inbox.change_reasons(users.mask)
    return counts


def _spool(settings: Settings, users: NamedUsers, *, erase: bool) -> Counter[int]:
    counts: Counter[int] = Counter()
    read = list_read(settings)
    if erase:
        remove(settings, [one for one in read if one.can_be_read_again])
    for one in read:

        def gone(raw: pl.DataFrame, mapping: Mapping[str, Any] = one.mapping) -> pl.Series:
            mine = owned(raw_rows(raw), mapping, users)
            counts.update(mine["user_key"])
            return mine["line"]

        one.spool.remove_rows(gone, dry_run=not erase)
    if erase:
        remove_empty(settings)
    return counts
