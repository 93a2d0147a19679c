"""Imports that were interrupted: what they read waits in the spool until they are repeated, or dropped."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, or_, select, update

from segadmin.errors import DataError
from segadmin.events.spool import Spool
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone, is_importing
from segadmin.storage.records import Import, ImportState

#: Errors of imports that were cut short; those that are :data:`INTERRUPTED` go on when they are repeated.
INTERRUPTED = "It was interrupted."
DROPPED = "It was interrupted, and what it had read was removed."
_IS_CUT_SHORT = or_(col(Import.state) == ImportState.RUNNING, col(Import.error) == INTERRUPTED)
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
    """An interrupted import, and what it read."""

    spool: Spool  #: without a chunk where it was interrupted before the first one
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

    @property
    def command(self) -> str:
        """What goes on with it, but for the options that it had; empty where that is not known."""
        if self.imported is None:
            return ""
        table, _, label_set = self.imported.table.partition(":")
        named = ["--name", label_set] if label_set else []
        return shlex.join(["segadmin", "data", "import", table, self.imported.file, *named])

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
            "error": (known.error or INTERRUPTED) if known else None,
            "command": self.command,
            "created_at": known.created_at.isoformat() if known else None,
        }


def list_read(settings: Settings) -> list[Interrupted]:
    """Return what imports read that is not in the lake, also those that are going on."""
    folders = [folder for folder in sorted(spool_folder(settings).glob("*/*")) if folder.is_dir()]
    if not folders:
        return []
    with transaction(settings) as session:
        known = session.exec(select(Import).order_by(col(Import.id))).all()
    newest = {content_name(one.sha256, one.table): one for one in known}
    return [Interrupted(Spool(folder), newest.get(folder.parent.name)) for folder in folders]


def list_interrupted(settings: Settings) -> list[Interrupted]:
    """Return the imports that failed or were killed and can go on, also those that had read nothing yet."""
    importing = is_importing(settings)
    read = list_read(settings)
    with transaction(settings) as session:
        cut_short = session.exec(select(Import).where(_IS_CUT_SHORT).order_by(col(Import.id))).all()
    numbers = {one.imported.id for one in read if one.imported is not None}
    spools = spool_folder(settings)
    unread = [(Spool(spools / content_name(one.sha256, one.table)), one) for one in cut_short if one.id not in numbers]
    found = [*read, *(Interrupted(spool, one) for spool, one in unread)]
    return [
        one for one in found if one.imported is None or not (importing and one.imported.state == ImportState.RUNNING)
    ]


def state_of(imported: Import, *, importing: bool) -> str:
    """Return the state of an import as people are told it: ``interrupted`` too, which no killed process writes down.

    Args:
        imported: its record.
        importing: whether any import is going on; see :func:`segadmin.storage.import_lock.is_importing`.
    """
    is_dead = imported.is_running and not importing
    return "interrupted" if is_dead or imported.error == INTERRUPTED else imported.state


def note_interrupted(session: Session) -> None:
    """Write down that no import is running; for who holds :func:`segadmin.storage.import_lock.alone`."""
    session.exec(
        update(Import)
        .where(col(Import.state) == ImportState.RUNNING)
        .values(state=ImportState.FAILED, error=INTERRUPTED)
    )


def find_interrupted(settings: Settings, name: str) -> list[Interrupted]:
    """Return what the import that is called ``name`` read, in one way or several.

    Raises:
        DataError: there is none.
    """
    found = [one for one in list_interrupted(settings) if one.name == name]
    if not found:
        raise DataError(f"No interrupted import is called {name!r}. Look: segadmin data interrupted")
    return found


def drop_interrupted(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Remove what the import that is called ``name`` read, for good.

    Returns:
        What there was, as :meth:`Interrupted.facts`.

    Raises:
        DataError: there is none.
        StorageError: the store cannot be written.
    """
    with alone(settings):
        with transaction(settings) as session:
            note_interrupted(session)
        dropped = find_interrupted(settings, name)
        facts = [one.facts() for one in dropped]
        remove(settings, dropped)
        record(settings, "data.interrupted.drop", f"import {name}", rows=sum(one["rows"] for one in facts))
    return facts


def remove(settings: Settings, dropped: Sequence[Interrupted]) -> None:
    """Remove what interrupted imports read, for good; for who holds :func:`segadmin.storage.import_lock.alone`."""
    for one in dropped:
        if one.spool.folder.exists():
            shutil.rmtree(one.spool.folder)
    remove_empty(settings)
    numbers = [one.imported.id for one in dropped if one.imported is not None]
    with transaction(settings) as session:
        ended = update(Import).where(_IS_CUT_SHORT, col(Import.id).in_(numbers))
        session.exec(ended.values(state=ImportState.FAILED, error=DROPPED))


def remove_empty(settings: Settings) -> None:
    """Remove the folders that hold no spool any more."""
    for folder in spool_folder(settings).glob("*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
