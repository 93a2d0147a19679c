"""Making a backup while services run: the database first, then the store, so that the store is the newer one."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from segadmin.backup.archive import Changed, Contents, Writer, new_archive
from segadmin.backup.rows import copied_tables, lines_of, one_state
from segadmin.errors import ConfigurationError, StorageError
from segadmin.events.erasure_mark import was_interrupted
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.database import HEAD
from segadmin.storage.delta_tables import is_draft
from segadmin.storage.import_lock import LOCKS, alone
from segadmin.storage.integrity import check_database
from segadmin.storage.store import check_store

log = logging.getLogger(__name__)
DATABASE, STORE, SECRET = "database", "store", "user_key_secret"
#: Parts of the store in the order in which they are copied. The log of a table comes before its files, so that it names
#: only files that are there; what is set aside comes before what waits, because users put it back.
_LOG, _LAST_CHECKPOINT = "_delta_log", "_last_checkpoint"
#: Parts from which jobs and users may remove files at any time, because they are no longer needed there.
_MAY_VANISH = ("work", "inbox-failed")
#: Parts that are not saved: uploads are kept for a day.
_NOT_SAVED = ("uploads",)
_OBJECT_STORE = re.compile(r"[a-z][a-z0-9+]+:/")


@dataclass(frozen=True)
class Backup:
    """What was saved."""

    path: Path
    bytes: int
    files: int
    rows: int  #: of the database
    secret: bool  #: whether the file has the secret; otherwise it is in the environment
    left_out: tuple[str, ...]  #: tables of plugins, and files of jobs that were removed or written meanwhile


def create_backup(settings: Settings, out: Path, progress: Callable[[int, int], None] = lambda *_: None) -> Backup:
    """Save the database, the store and the secret in the file ``out``, which only its owner can read.

    Imports, compactions and erasures wait until it is done; jobs go on.

    Args:
        settings: what to save.
        out: a file that does not exist yet.
        progress: called with the bytes that were copied, and the bytes of all.

    Raises:
        ConfigurationError: the store is not in a folder, is not the database's, or lacks its secret; or ``out`` is in
            it.
        StorageError: something cannot be read or written, is damaged, or changed while it was copied.
    """
    _check_places(settings, out)
    check_database(settings)
    with alone(settings):
        check_store(settings)
        if was_interrupted(settings):
            raise StorageError("An erasure of users was interrupted. Complete it first: segadmin data forget")
        total, copied = _size(settings, out), 0

        def count(size: int) -> None:
            nonlocal copied
            copied += size
            progress(min(copied, total), total)

        with new_archive(out, count) as writer:
            backup = _write(settings, writer, out)
    record(settings, "backup.create", out.name, files=backup.files, bytes=backup.bytes)
    log.info("backup made", extra={"action": "backup", "files": backup.files, "bytes": backup.bytes})
    return backup


def _check_places(settings: Settings, out: Path) -> None:
    if settings.store is not None and _OBJECT_STORE.match(str(settings.store)):
        raise ConfigurationError(
            f"SEGADMIN_STORE={str(settings.store)!r} is not a folder, and object storage is not copied. Mount it as a "
            "folder, or back it up with the tools of its provider."
        )
    if out.resolve().is_relative_to(settings.store_path):
        raise ConfigurationError(f"{out} is inside the store, which is copied. Name a file outside it.")
    try:
        out.name.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"The name {out.name!a} is not UTF-8. Choose another.") from None
    if not out.parent.is_dir():
        raise ConfigurationError(f"There is no folder {out.parent}. Create it, or name another.")


def _size(settings: Settings, out: Path) -> int:
    """Return the bytes of the store, after checking that there is room for them."""
    total = 0
    for path in _listed(settings.store_path):
        with suppress(FileNotFoundError):  # noticed when it is copied
            total += path.stat().st_size
    if (free := shutil.disk_usage(out.parent).free) < total:
        raise StorageError(
            f"{out.parent} has {free / 2**30:.1f} GiB free, and the backup needs {total / 2**30:.1f} GiB. Free some "
            "space, or choose another disk."
        )
    return total


def _write(settings: Settings, writer: Writer, out: Path) -> Backup:
    tables, rows, plugin_tables = _add_database(settings, writer, out.parent)
    missing = tuple(_add_store(settings.store_path, writer))
    secret = settings.root / SECRET
    has_secret = settings.user_key_secret is None and secret.exists()
    if has_secret:
        writer.add_file(SECRET, secret)
    files = dict(writer.files)
    version, created = importlib.metadata.version("segadmin"), datetime.now(UTC).isoformat(timespec="seconds")
    writer.finish(Contents(version, HEAD, created, tables, files))
    left_out = (*(f"the table {name}" for name in plugin_tables), *missing)
    return Backup(out, writer.archive.offset, len(files), rows, has_secret, left_out)


def _add_database(settings: Settings, writer: Writer, folder: Path) -> tuple[tuple[str, ...], int, list[str]]:
    """Copy all rows of one state; return the names of the tables, the number of rows, and the tables of plugins."""
    rows = 0
    with ExitStack() as stack:
        files = []
        with one_state(settings) as connection:  # PostgreSQL ends a transaction that is idle while a file is copied
            tables, others = copied_tables(connection)
            for table in tables:
                lines = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                for line in lines_of(connection, table):
                    lines.write(line)
                    rows += 1
                files.append((table.name, lines))
        for name, lines in files:
            size = lines.tell()
            lines.seek(0)
            writer.add(f"{DATABASE}/{name}.jsonl", lines, size)
    return tuple(name for name, _ in files), rows - len(files), others


def _add_store(store: Path, writer: Writer) -> Iterator[str]:
    """Copy the files of the store; yield those that jobs and users removed or wrote meanwhile."""
    for path in _listed(store):
        name = path.relative_to(store)
        try:
            writer.add_file(f"{STORE}/{name}", path)
        except Changed:
            if name.parts[0] not in _MAY_VANISH:
                raise
            yield str(name)


def _listed(store: Path) -> Iterator[Path]:
    """Yield the files of the store in the order in which they are copied; a folder is read when it is its turn.

    Raises:
        StorageError: there is a link, which would be another path after restoring.
    """
    lake = store / "lake"
    tables = sorted(lake.iterdir()) if lake.is_dir() else []
    for table in tables:
        checkpoint = table / _LOG / _LAST_CHECKPOINT
        yield from [checkpoint] if checkpoint.exists() else []
        yield from (path for path in _files(table / _LOG) if path != checkpoint)
        yield from (path for path in _files(table) if path.relative_to(table).parts[0] != _LOG)
    first = [store / name for name in _MAY_VANISH]
    for folder in first:
        yield from _files(folder)
    others = (lake, *first, *(store / name for name in _NOT_SAVED))
    yield from (path for path in _files(store) if not any(path.is_relative_to(other) for other in others))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder without incomplete ones; an unreadable folder is an error."""
    for parent, folders, names in os.walk(folder, onerror=_unless_missing):
        for name in sorted(folders + names):
            path = Path(parent, name)
            if path.is_symlink():
                raise StorageError(f"{path} is a link, which is not copied. Put the files there themselves.")
            is_incomplete = name.startswith(".") or name.endswith(".draft") or is_draft(path)
            if name in names and name not in LOCKS and not is_incomplete:
                yield path
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise StorageError(f"{error.filename} cannot be read: {error.strerror}. Check its permissions.") from None
