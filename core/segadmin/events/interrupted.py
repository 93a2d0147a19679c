"""Imports that were interrupted: what they read waits in the spool until they are repeated, or dropped."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from segadmin.errors import DataError
from segadmin.events.spool import Spool
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone
from segadmin.storage.records import Import

#: What the folder of a queue's rows is called: they are nowhere else, in whatever way they are to be read.
FROM_QUEUE = "any"


def spool_folder(settings: Settings) -> Path:
    """Return the folder of all spools."""
    return settings.store_path / "spool"


def content_name(digest: str, table: str) -> str:
    """Return what the folder of an import of some content into a table is called."""
    return f"{digest[:16]}-{hashlib.blake2b(table.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True)
class Interrupted:
    """What an interrupted import read."""

    spool: Spool
    imported: Import | None  #: its record; ``None`` where the database does not know it

    @property
    def can_be_read_again(self) -> bool:
        """Whether the same import would read it again; what a queue gave is nowhere else."""
        return self.spool.folder.name != FROM_QUEUE

    @property
    def mapping(self) -> dict[str, Any]:
        """How it is read; empty where that is not known."""
        return self.imported.mapping if self.imported is not None else {}

    @property
    def name(self) -> str:
        """What to call it: the number of its import, or else its folder."""
        return str(self.imported.id) if self.imported is not None else self.spool.folder.parent.name

    def facts(self) -> dict[str, Any]:
        """Return what to show of it."""
        known = self.imported
        return {
            "import": self.name,
            "table": known.table if known else "",
            "file": known.file if known else "",
            "rows": self.spool.rows,
            "bytes": sum(path.stat().st_size for path in self.spool.folder.rglob("*") if path.is_file()),
            "can_be_read_again": self.can_be_read_again,
            "error": known.error if known else None,
            "created_at": known.created_at.isoformat() if known else None,
        }


def list_interrupted(settings: Settings) -> list[Interrupted]:
    """Return what interrupted imports read, and those that are going on."""
    folders = [folder for folder in sorted(spool_folder(settings).glob("*/*")) if folder.is_dir()]
    if not folders:
        return []
    with transaction(settings) as session:
        known = session.exec(select(Import).order_by(col(Import.id))).all()
    newest = {content_name(one.sha256, one.table): one for one in known}
    return [Interrupted(Spool(folder), newest.get(folder.parent.name)) for folder in folders]


def drop_interrupted(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Remove what the import that is called ``name`` read, for good.

    Returns:
        What there was, as :meth:`Interrupted.facts`.

    Raises:
        DataError: there is none.
        StorageError: the store cannot be written.
    """
    with alone(settings):
        dropped = [one for one in list_interrupted(settings) if one.name == name]
        if not dropped:
            raise DataError(f"No interrupted import is called {name!r}. Look: segadmin data interrupted")
        facts = [one.facts() for one in dropped]
        for one in dropped:
            shutil.rmtree(one.spool.folder)
        remove_empty(settings)
        record(settings, "data.interrupted.drop", f"import {name}", rows=sum(one["rows"] for one in facts))
    return facts


def remove_empty(settings: Settings) -> None:
    """Remove the folders that hold no spool any more."""
    for folder in spool_folder(settings).glob("*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
