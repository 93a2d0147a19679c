"""Interrupted imports: their rows stay in the spool until they are resumed or dropped."""

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

#: Errors of interrupted imports; those with :data:`INTERRUPTED` resume when they are repeated.
INTERRUPTED = "It was interrupted."
DROPPED = "It was interrupted, and what it had read was removed."
_IS_INTERRUPTED = or_(col(Import.state) == ImportState.RUNNING, col(Import.error) == INTERRUPTED)
#: Name of the spool folder for a queue, with any mapping: its rows cannot be read again.
FROM_QUEUE = "any"


def spool_folder(settings: Settings) -> Path:
    """Return the folder of all spools."""
    return settings.store_path / "spool"


def content_name(digest: str, table: str) -> str:
    """Return the name of the spool folder for a digest of content and a table."""
    return f"{digest[:16]}-{hashlib.blake2b(table.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True)
class Interrupted:
    """An interrupted import and its spool."""

    spool: Spool  #: empty if it was interrupted before the first chunk
    imported: Import | None  #: its record; ``None`` if the database has none

    @property
    def can_be_read_again(self) -> bool:
        """Whether the same import can read the rows again, unlike those of a queue."""
        return self.spool.folder.name != FROM_QUEUE

    @property
    def mapping(self) -> dict[str, Any]:
        """The mapping of the import; empty if it is unknown."""
        return self.imported.mapping if self.imported is not None else {}

    @property
    def name(self) -> str:
        """The number of the import, or else the name of its folder."""
        return str(self.imported.id) if self.imported is not None else self.spool.folder.parent.name

    @property
    def command(self) -> str:
        """The command that resumes it, without its options; empty if it is unknown."""
        if self.imported is None:
            return ""
        table, _, label_set = self.imported.table.partition(":")
        named = ["--name", label_set] if label_set else []
        return shlex.join(["segadmin", "data", "import", table, self.imported.file, *named])

    def facts(self) -> dict[str, Any]:
        """Return its description for output."""
        imported = self.imported
        return {
            "import": self.name,
            "table": imported.table if imported else "",
            "file": imported.file if imported else "",
            "rows": self.spool.rows,
            "bytes": sum(path.stat().st_size for path in self.spool.folder.rglob("*") if path.is_file()),
            "can_be_read_again": self.can_be_read_again,
            "error": (imported.error or INTERRUPTED) if imported else None,
            "command": self.command,
            "created_at": imported.created_at.isoformat() if imported else None,
        }


def list_read(settings: Settings) -> list[Interrupted]:
    """Return the imports with rows in the spool, including running ones."""
    folders = [folder for folder in sorted(spool_folder(settings).glob("*/*")) if folder.is_dir()]
    if not folders:
        return []
    with transaction(settings) as session:
        imports = session.exec(select(Import).order_by(col(Import.id))).all()
    newest = {content_name(imported.sha256, imported.table): imported for imported in imports}
    return [Interrupted(Spool(folder), newest.get(folder.parent.name)) for folder in folders]


def list_interrupted(settings: Settings) -> list[Interrupted]:
    """Return the imports that failed or were killed and can resume, including those without rows in the spool."""
    importing = is_importing(settings)
    spooled = list_read(settings)
    with transaction(settings) as session:
        records = session.exec(select(Import).where(_IS_INTERRUPTED).order_by(col(Import.id))).all()
    numbers = {interrupted.imported.id for interrupted in spooled if interrupted.imported is not None}
    folders = {
        imported.id: spool_folder(settings) / content_name(imported.sha256, imported.table) for imported in records
    }
    empty = [Interrupted(Spool(folders[imported.id]), imported) for imported in records if imported.id not in numbers]
    return [
        interrupted
        for interrupted in [*spooled, *empty]
        if interrupted.imported is None or not (importing and interrupted.imported.is_running)
    ]


def state_of(imported: Import, *, importing: bool) -> str:
    """Return the state of an import for output, including ``interrupted``, which killed processes cannot record.

    Args:
        imported: its record.
        importing: whether any import is running; see :func:`segadmin.storage.import_lock.is_importing`.
    """
    was_killed = imported.is_running and not importing
    return "interrupted" if was_killed or imported.error == INTERRUPTED else imported.state


def note_interrupted(session: Session) -> None:
    """Mark running imports as interrupted; the caller holds :func:`segadmin.storage.import_lock.alone`."""
    session.exec(
        update(Import)
        .where(col(Import.state) == ImportState.RUNNING)
        .values(state=ImportState.FAILED, error=INTERRUPTED)
    )


def find_interrupted(settings: Settings, name: str) -> list[Interrupted]:
    """Return the interrupted import called ``name``, once for each mapping that it was read with.

    Raises:
        DataError: there is none.
    """
    matches = [interrupted for interrupted in list_interrupted(settings) if interrupted.name == name]
    if not matches:
        raise DataError(f"No interrupted import is called {name!r}. Look: segadmin data interrupted")
    return matches


def drop_interrupted(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Permanently remove the spooled rows of the interrupted import called ``name``.

    Returns:
        A description of what was removed; see :meth:`Interrupted.facts`.

    Raises:
        DataError: there is none.
        StorageError: the store cannot be written.
    """
    with alone(settings):
        with transaction(settings) as session:
            note_interrupted(session)
        dropped = find_interrupted(settings, name)
        descriptions = [interrupted.facts() for interrupted in dropped]
        remove(settings, dropped)
        rows = sum(description["rows"] for description in descriptions)
        record(settings, "data.interrupted.drop", f"import {name}", rows=rows)
    return descriptions


def remove(settings: Settings, dropped: Sequence[Interrupted]) -> None:
    """Permanently remove spooled rows; the caller holds :func:`segadmin.storage.import_lock.alone`."""
    for interrupted in dropped:
        if interrupted.spool.folder.exists():
            shutil.rmtree(interrupted.spool.folder)
    remove_empty(settings)
    numbers = [interrupted.imported.id for interrupted in dropped if interrupted.imported is not None]
    with transaction(settings) as session:
        ended = update(Import).where(_IS_INTERRUPTED, col(Import.id).in_(numbers))
        session.exec(ended.values(state=ImportState.FAILED, error=DROPPED))


def remove_empty(settings: Settings) -> None:
    """Remove folders without a spool."""
    for folder in spool_folder(settings).glob("*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
