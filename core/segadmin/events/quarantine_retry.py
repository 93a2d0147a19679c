"""Imports rows in quarantine again: they become an upload, which is imported with a corrected mapping."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from segadmin.errors import DataError
from segadmin.events.import_records import find_import
from segadmin.events.quarantine import as_file, find_rows
from segadmin.events.uploads import Choice, Replaced, Upload, keep, new_upload
from segadmin.settings import Settings
from segadmin.storage.audit import current_actor, record
from segadmin.storage.records import Import

#: Rows that are written at a time, and bytes of the file.
_BATCH, _MOST_BYTES = 50_000, 2**40


def upload_rows(
    settings: Settings, number: int, reason: str | None = None, key: str | None = None
) -> tuple[Upload, bool]:
    """Return an upload of the rows of an import that are in quarantine, with the mapping of that import.

    Once it is imported, they are deleted from quarantine; those that are wrong again are there under the new import.
    With the idempotency ``key`` of an earlier one that is not imported yet, that is returned, and ``False``.

    Raises:
        ImportNotFound: there is no such import.
        DataError: it has no such rows in quarantine, or their mapping cannot be used again.
        KeyReused: another upload has this key.
        StorageError: the store cannot be written.
    """
    imported = find_import(settings, number)
    rows = find_rows(settings, number, reason).collect()
    if rows.is_empty():
        what = f" with the reason {reason!r}" if reason is not None else ""
        raise DataError(f"Import {number} has no rows{what} in quarantine.")
    file = as_file(rows, formulas=False)
    with new_upload(settings, f"quarantine-{number}.jsonl", _MOST_BYTES) as draft:
        for start in range(0, file.height, _BATCH):
            draft.write(_lines(file.slice(start, _BATCH)))
        table, _, label_set = imported.table.partition(":")
        choice = Choice(table, _mapping(imported), label_set=label_set)
        upload, created = keep(settings, draft, current_actor(), key, choice=choice, replaced=Replaced(number, reason))
    if created:
        record(settings, "data.quarantine.retry", f"import {number}", reason=reason, rows=rows.height)
    return upload, created


def _mapping(imported: Import) -> dict[str, Any]:
    """Return the mapping of an import without the source, and without a user of all rows, whose id is not kept."""
    mapping = {name: value for name, value in imported.mapping.items() if name != "source"}
    constants = {name: value for name, value in mapping.get("constants", {}).items() if name != "user"}
    return mapping | {"constants": constants}


def _lines(rows: pl.DataFrame) -> bytes:
    """Return rows as JSON lines; a cell that was missing stays out."""
    lines = (
        json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False)
        for row in rows.iter_rows(named=True)
    )
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
