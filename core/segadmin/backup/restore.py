"""Restoring a backup into an empty home: all of it, or nothing."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from segadmin.backup.archive import Contents, copy_member, extracted, open_archive
from segadmin.backup.create import DATABASE, SECRET, STORE
from segadmin.backup.rows import filled, is_empty
from segadmin.errors import ConfigurationError, DataError, StorageError
from segadmin.files import inside, make_folder, put_once, sync
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.audit import record
from segadmin.storage.damage import marker
from segadmin.storage.integrity import clear_damage
from segadmin.storage.mark import MARK
from segadmin.storage.store import check_store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    created: str  #: when the backup was made; ISO 8601, UTC
    version: str  #: of the segadmin that made it
    files: int
    needs_secret: bool  #: whether the store has a secret that is neither in the backup nor in the settings


def restore_backup(settings: Settings, path: Path, progress: Callable[[int, int], None] = lambda *_: None) -> Restored:
    """Restore a backup into the home, the store and the database of ``settings``, which must be empty.

    Every file is checked against its SHA-256 before anything is put in place. The database may be of another kind than
    the one that was saved.

    Args:
        settings: where to restore to.
        path: a file that :func:`segadmin.backup.create.create_backup` wrote.
        progress: called with the bytes that were copied, and the bytes of all.

    Raises:
        ConfigurationError: home, store or database are not empty.
        DataError: the file is not a backup, is damaged or cut, or of a newer version; nothing was written.
        StorageError: something cannot be written; nothing was left behind.
    """
    with open_archive(path) as (archive, contents):
        _check_revision(path, contents)
        _check_paths(settings, contents)
        _check_empty(settings)
        copied, total = 0, sum(member.size for member in archive.getmembers())

        def count(size: int) -> None:
            nonlocal copied
            copied += size
            progress(copied, total)

        with _undone_on_errors(settings), _draft(settings.store_path, settings) as draft:
            _extract(settings, archive, contents, draft, count)
            lines = [(name, _lines(archive, name)) for name in contents.tables]
            with filled(settings, contents.revision, lines):
                _put_in_place(settings, draft)
    clear_damage(settings)
    has_secret = SECRET in contents.files or settings.user_key_secret is not None
    needs_secret = not has_secret and f"{STORE}/{MARK}" in contents.files
    restored = Restored(contents.created, contents.version, len(contents.files), needs_secret)
    if not needs_secret:
        check_store(settings)
    record(settings, "backup.restore", path.name, created=contents.created)
    log.info("backup restored", extra={"action": "restore", "files": restored.files})
    return restored


def _check_revision(path: Path, contents: Contents) -> None:
    if contents.revision not in database.revisions():
        raise DataError(
            f"{path} was made by segadmin {contents.version}, whose schema {contents.revision} this version does not "
            "know. Upgrade segadmin first."
        )
    if {f"{DATABASE}/{name}.jsonl" for name in contents.tables} - contents.files.keys():
        raise DataError(f"{path} lacks tables of the database. Use another backup.")


def _check_paths(settings: Settings, contents: Contents) -> None:
    for name in contents.files:
        folder, _, rest = name.partition("/")
        if folder == STORE:
            inside(settings.store_path, rest)
        elif name != SECRET and not (folder == DATABASE and rest.removesuffix(".jsonl") in contents.tables):
            raise DataError(f"The backup has {name!r}, which is nothing that segadmin saves. Use another one.")


def _check_empty(settings: Settings) -> None:
    """Check that nothing would be overwritten or mixed.

    Raises:
        ConfigurationError: home, store or database are not empty.
    """
    for name, folder in (("home", settings.root), ("store", settings.store_path)):
        if folder.exists() and any(folder.iterdir()):
            raise ConfigurationError(
                f"{folder} is not empty, and a backup is restored only into an empty {name}. Move it away: mv {folder} "
                f"{folder}.old; or set SEGADMIN_{name.upper()} to another folder."
            )
    files = settings.database_files
    if files and not files[0].exists():
        marker(files[0]).unlink(missing_ok=True)  # of a file that was moved away
    elif not is_empty(settings):
        raise ConfigurationError(
            f"The database {database.shown(settings)} has tables, and a backup is restored only into an empty one. "
            "Move it away, or set SEGADMIN_DATABASE_URL to another."
        )


@contextmanager
def _undone_on_errors(settings: Settings) -> Iterator[None]:
    """Remove what was created if the body raises: home, store and database were empty before."""
    existed = [folder for folder in (settings.root, settings.store_path) if folder.exists()]
    try:
        make_folder(settings.root, settings.umask_bits)
        make_folder(settings.store_path, settings.umask_bits)
        yield
    except BaseException as error:
        database.engine(settings).dispose()
        for file in settings.database_files:
            file.unlink(missing_ok=True)
        for folder in (settings.store_path, settings.root):
            with suppress(OSError):
                for child in list(folder.iterdir()):
                    shutil.rmtree(child) if child.is_dir() else child.unlink()
                if folder not in existed:
                    folder.rmdir()
        if isinstance(error, OSError):
            place = error.filename or settings.store_path
            raise StorageError(f"{place} cannot be written: {error.strerror}. Check the disk.") from None
        raise


@contextmanager
def _draft(store: Path, settings: Settings) -> Iterator[Path]:
    """Create a folder beside the final places, on the same disk as the store."""
    draft = store / f".restore-{secrets.token_hex(8)}"
    make_folder(draft, settings.umask_bits)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(
    settings: Settings, archive: tarfile.TarFile, contents: Contents, draft: Path, count: Callable[[int], None]
) -> None:
    """Write all files but the database into ``draft``, and check every member of the archive."""
    for name, digest in contents.files.items():
        if name.startswith(f"{DATABASE}/"):  # read again when its rows are inserted
            with Path(os.devnull).open("wb") as nowhere:
                copy_member(archive, name, digest, nowhere, count)
            continue
        path = inside(draft, name)
        make_folder(path.parent, settings.umask_bits)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~settings.umask_bits)
        with os.fdopen(descriptor, "wb") as out:
            copy_member(archive, name, digest, out, count)
            out.flush()
            os.fsync(descriptor)


def _lines(archive: tarfile.TarFile, table: str) -> Iterator[bytes]:
    yield from extracted(archive, archive.getmember(f"{DATABASE}/{table}.jsonl"))


def _put_in_place(settings: Settings, draft: Path) -> None:
    """Move the files of ``draft`` to their places; the database is committed after this."""
    if (draft / STORE).exists():
        for path in (draft / STORE).iterdir():
            path.rename(settings.store_path / path.name)
    if (draft / SECRET).exists():
        put_once(settings.root / SECRET, _secret(draft / SECRET), settings.umask_bits | 0o022)
    sync(settings.store_path)
    sync(settings.root)


def _secret(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise DataError("The secret in the backup is damaged. Use another backup.") from None
