"""Erasure of users from data that is not in the lake yet: posted batches and spools of interrupted imports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from segadmin.events.cells import raw_rows
from segadmin.events.inbox import Inbox
from segadmin.events.interrupted import list_read, remove, remove_empty
from segadmin.events.mapping import Mapping as FieldMapping
from segadmin.events.named_users import NamedUsers
from segadmin.events.quarantine_users import kept_mapping, owned, row_of_json
from segadmin.settings import Settings


def drop_unfinished(settings: Settings) -> None:
    """Remove incomplete files of ended processes: no import reads them, and their users cannot be determined."""
    Inbox.of(settings).drop_drafts()
    for interrupted in list_read(settings):
        interrupted.spool.drop_unfinished()


def count_waiting(settings: Settings, users: NamedUsers) -> dict[str, Counter[int]]:
    """Return the number of rows per user key in the ``inbox`` and in the ``spool``."""
    return {"inbox": _inbox(settings, users, erase=False), "spool": _spool(settings, users, erase=False)}


def erase_waiting(settings: Settings, users: NamedUsers) -> None:
    """Erase users from the inbox and the spool. Spools of files are removed: the same import reads the file again."""
    _inbox(settings, users, erase=True)
    _spool(settings, users, erase=True)


def _inbox(settings: Settings, users: NamedUsers, *, erase: bool) -> Counter[int]:
    mapping = FieldMapping.read(settings.events_mapping)
    counts: Counter[int] = Counter()
    inbox = Inbox.of(settings)
    for batch in [*inbox.batches(), *inbox.failed_batches()]:
        lines = [line for line in batch.read_bytes().decode("utf-8", "surrogateescape").split("\n") if line.strip()]
        rows = pl.Series([row_of_json(line) for line in lines], dtype=pl.String)
        users_rows = owned(rows, kept_mapping(mapping, settings.secret()), users)
        counts.update(users_rows["user_key"])
        if erase and users_rows.height:
            erased_lines = set(users_rows["line"])
            inbox.replace(batch, [line for index, line in enumerate(lines) if index not in erased_lines])
    if erase:
        inbox.change_reasons(users.mask)
    return counts


def _spool(settings: Settings, users: NamedUsers, *, erase: bool) -> Counter[int]:
    counts: Counter[int] = Counter()
    imports = list_read(settings)
    if erase:
        remove(settings, [interrupted for interrupted in imports if interrupted.can_be_read_again])
    for interrupted in imports:

        def erased_rows(raw: pl.DataFrame, mapping: Mapping[str, Any] = interrupted.mapping) -> pl.Series:
            users_rows = owned(raw_rows(raw), mapping, users)
            counts.update(users_rows["user_key"])
            return users_rows["line"]

        interrupted.spool.remove_rows(erased_rows, dry_run=not erase)
    if erase:
        remove_empty(settings)
    return counts
