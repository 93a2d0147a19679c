"""Uploaded files: kept in a private folder of the store until they are imported, for a day at most.

Every worker reads the store, so whichever takes the import finds the file. What a person chose for it, such as the
mapping, is beside it, so that a page can be left and opened again.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from segadmin.errors import DataError, KeyReused, StorageError, UploadNotFound, UploadTooLarge
from segadmin.files import make_folder, replace_text, sync
from segadmin.settings import Settings
from segadmin.storage.records import utcnow

#: How long an upload is kept, and how many bytes all of them may have, as a multiple of the largest.
KEPT, _MOST_HELD = timedelta(days=1), 4
#: How long a draft is kept after the last byte.
_DRAFT_KEPT = timedelta(hours=1)
#: Of a file's name: characters, and those that a path or a spreadsheet gives a meaning.
_LONGEST_NAME = 100
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|$]')
_ID = re.compile("[0-9a-f]{32}")
_FACTS, _FOLDER, _DRAFT = "upload.json", "file", ".draft"
_GONE = "There is no such upload: it was imported or removed, or is more than a day old. Upload the file again."
#: What somebody else's program calls tables that segadmin cannot read, and what to do.
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True)
class Replaced:
    """Rows in quarantine that the import of an upload replaces."""

    import_id: int
    reason: str | None = None  #: only those with this reason


@dataclass(frozen=True)
class Choice:
    """How an upload is to be imported."""

    table: str = "events"
    mapping: dict[str, Any] = field(default_factory=dict)  #: a :class:`segadmin.events.mapping.Mapping`, as JSON
    options: dict[str, str] = field(default_factory=dict)  #: of the source
    label_set: str = ""  #: for labels
    segments: tuple[str, ...] = ()  #: for labels: their order
    source: str | None = None  #: that reads the file; default: by its suffix
    again: bool = False  #: import even if the same file was imported before

    @property
    def digest(self) -> str:
        """A digest of the choice: the import of one choice is one job."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Upload:
    """An uploaded file."""

    id: str
    name: str
    bytes: int
    sha256: str
    created_at: datetime
    actor: str  #: who uploaded it
    choice: Choice = field(default_factory=Choice)
    replaced: Replaced | None = None
    key: str | None = None  #: of idempotency

    @property
    def expires_at(self) -> datetime:
        """When it is removed, imported or not."""
        return self.created_at + KEPT


def uploads_folder(settings: Settings) -> Path:
    """Return the folder of all uploads."""
    return settings.store_path / "uploads"


def upload_path(settings: Settings, upload: Upload) -> Path:
    """Return the path of an uploaded file."""
    return uploads_folder(settings) / upload.id / _FOLDER / upload.name


def plain_name(name: str) -> str:
    """Return the name under which a file is stored, whatever a browser or a client called it.

    Raises:
        DataError: it is a spreadsheet, which cannot be read.
    """
    name = _NOT_IN_NAMES.sub("_", re.split(r"[/\\]", name)[-1])
    name = "".join(character for character in name if character.isprintable()).strip(". ")
    if name.lower().endswith(_SPREADSHEETS):
        raise DataError(f"{name} is a spreadsheet, which segadmin cannot read. Save the sheet as CSV (UTF-8).")
    stem, dot, suffixes = name.partition(".")
    ending = (dot + suffixes)[-30:]
    while len(f"{stem}{ending}".encode()) > _LONGEST_NAME and stem:
        stem = stem[:-1]
    return f"{stem}{ending}" if stem else f"upload{ending}"


def too_large(most: int) -> str:
    """Return the message about a file of more bytes than ``most``."""
    return (
        f"The file is larger than {most >> 20} MiB. Compress it, divide it, or set SEGADMIN_WEB_UPLOAD_MIB on the "
        "server. Commands on the server take files of any size: segadmin data import"
    )


class Draft:
    """A file that is being uploaded, chunk by chunk."""

    def __init__(self, folder: Path, name: str, most: int) -> None:
        """Begin an empty file.

        Args:
            folder: of the draft, among all uploads.
            name: of the file.
            most: bytes that it may have; all uploads together may have some times as many.
        """
        self.name, self._most, self._digest, self.bytes = name, most, hashlib.sha256(), 0
        self.folder = folder
        self._file = (folder / _FOLDER / name).open("xb")

    def write(self, chunk: bytes | memoryview) -> None:
        """Add a chunk.

        Raises:
            UploadTooLarge: the file is larger than it may be.
            DataError: there are too many uploads, with those that come at the same time.
            StorageError: the disk is full or fails.
        """
        self.bytes += len(chunk)
        if self.bytes > self._most:
            raise UploadTooLarge(too_large(self._most))
        _check_held(self.folder.parent, len(chunk), _MOST_HELD * self._most)
        self._digest.update(chunk)
        with _writing(self.folder):
            self._file.write(chunk)

    @property
    def sha256(self) -> str:
        """The digest of what was written."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()


@contextmanager
def new_upload(settings: Settings, name: str, most: int) -> Iterator[Draft]:
    """Yield a draft to write a file to; it becomes an upload by :func:`keep`, or is removed at the end.

    Args:
        settings: location of the store.
        name: of the file, as the client calls it.
        most: bytes that it may have.

    Raises:
        DataError: the file's name is that of a spreadsheet, or there are too many uploads.
        StorageError: the store cannot be written.
    """
    name = plain_name(name)
    drop_old(settings)
    _check_held(uploads_folder(settings), 0, (_MOST_HELD - 1) * most)
    folder = uploads_folder(settings) / f".{secrets.token_hex(16)}{_DRAFT}"
    with _writing(folder):
        make_folder(folder / _FOLDER, settings.umask_bits | 0o007)
        draft = Draft(folder, name, most)
    try:
        yield draft
    finally:
        draft.close()
        shutil.rmtree(folder, ignore_errors=True)


def keep(
    settings: Settings,
    draft: Draft,
    actor: str,
    key: str | None = None,
    *,
    choice: Choice | None = None,
    replaced: Replaced | None = None,
) -> tuple[Upload, bool]:
    """Make a complete draft an upload; of the drafts with one key, only the first.

    Args:
        settings: location of the store.
        draft: the complete file.
        actor: who uploaded it.
        key: idempotency key; ``None``: a new one.
        choice: how it is to be imported, as far as that is known.
        replaced: rows in quarantine that its import replaces.

    Returns:
        The upload, and whether it is new.

    Raises:
        DataError: it is empty.
        KeyReused: another upload that waits has this key.
        StorageError: the store cannot be written.
    """
    if not draft.bytes:
        raise DataError(f"{draft.name} is empty. Choose a file with rows.")
    draft.close()
    number = _id_of(key, draft, replaced)
    facts = (number, draft.name, draft.bytes, draft.sha256, utcnow(), actor)
    upload = Upload(*facts, choice=choice or Choice(), replaced=replaced, key=key)
    _check_key(settings, upload)
    with _writing(draft.folder):
        sync(draft.folder / _FOLDER / draft.name)
        _put_facts(settings, draft.folder, upload)
        try:
            draft.folder.rename(uploads_folder(settings) / upload.id)
        except OSError:
            earlier = None if key is None else _read(uploads_folder(settings) / upload.id / _FACTS)
            if earlier is None:
                raise
            return earlier, False
        sync(uploads_folder(settings))
    return upload, True


def _id_of(key: str | None, draft: Draft, replaced: Replaced | None) -> str:
    """Return the id of an upload: of the same request with the same key, the same. Its import is one job."""
    if key is None:
        return secrets.token_hex(16)
    request = json.dumps([key, draft.name, draft.sha256, replaced and asdict(replaced)])
    return hashlib.blake2b(request.encode(), digest_size=16).hexdigest()


def _check_key(settings: Settings, upload: Upload) -> None:
    """Check that no other upload has the key of this one.

    Raises:
        KeyReused: one has.
    """
    for other in list_uploads(settings) if upload.key is not None else ():
        if other.key == upload.key and other.id != upload.id:
            raise KeyReused(
                f"The key {upload.key!r} belongs to another upload, of {other.name}. Nothing was stored. Take another."
            )


def choose(settings: Settings, upload: Upload, choice: Choice) -> Upload:
    """Store how an upload is to be imported, and return it.

    Raises:
        UploadNotFound: it was removed meanwhile.
        StorageError: the store cannot be written.
    """
    chosen, folder = replace(upload, choice=choice), uploads_folder(settings) / upload.id
    with _writing(folder):
        try:
            _put_facts(settings, folder, chosen)
        except FileNotFoundError:
            raise UploadNotFound(_GONE) from None
    return chosen


def list_uploads(settings: Settings) -> list[Upload]:
    """Return all uploads that are not too old, newest first."""
    uploads = [_read(path) for path in uploads_folder(settings).glob(f"*/{_FACTS}") if _ID.fullmatch(path.parent.name)]
    current = [upload for upload in uploads if upload is not None and upload.expires_at > utcnow()]
    return sorted(current, key=lambda upload: upload.created_at, reverse=True)


def find_upload(settings: Settings, upload_id: str) -> Upload:
    """Return an upload.

    Raises:
        UploadNotFound: there is none, or it is gone.
    """
    path = uploads_folder(settings) / upload_id / _FACTS
    upload = _read(path) if _ID.fullmatch(upload_id) else None
    if upload is None or upload.expires_at <= utcnow():
        raise UploadNotFound(_GONE)
    return upload


def remove_upload(settings: Settings, upload_id: str) -> None:
    """Remove an upload, if it is there."""
    if _ID.fullmatch(upload_id):
        shutil.rmtree(uploads_folder(settings) / upload_id, ignore_errors=True)


def drop_old(settings: Settings) -> None:
    """Remove uploads that are more than a day old, and drafts that nothing was written to for an hour."""
    oldest = utcnow() - KEPT
    for folder in uploads_folder(settings).glob("*"):
        with suppress(OSError):
            if folder.name.endswith(_DRAFT):
                _drop_draft(folder)
            elif datetime.fromtimestamp(folder.stat().st_mtime, UTC) < oldest:
                upload = _read(folder / _FACTS)
                if upload is None or upload.expires_at <= utcnow():
                    shutil.rmtree(folder, ignore_errors=True)


def _drop_draft(folder: Path) -> None:
    """Remove a draft whose process has ended: a client that sends nothing for so long was given up before."""
    written = max(path.stat().st_mtime for path in (folder, *folder.glob(f"{_FOLDER}/*")))
    if datetime.fromtimestamp(written, UTC) < utcnow() - _DRAFT_KEPT:
        shutil.rmtree(folder, ignore_errors=True)


def drop_all(settings: Settings) -> int:
    """Remove all uploads, and return how many there were: an erasure cannot know whom they name."""
    count = len(list_uploads(settings))
    shutil.rmtree(uploads_folder(settings), ignore_errors=True)
    return count


def _check_held(uploads: Path, more: int, most: int) -> None:
    """Refuse further bytes if all uploads, complete or coming, would have more than ``most``.

    Raises:
        DataError: they would.
    """
    held = more
    for file in uploads.glob(f"*/{_FOLDER}/*"):
        with suppress(OSError):  # it was removed meanwhile
            held += file.stat().st_size
    if held > most:
        raise DataError(f"Uploads of {held >> 20} MiB wait to be imported. Import or remove some of them first.")


def _put_facts(settings: Settings, folder: Path, upload: Upload) -> None:
    facts = asdict(upload) | {"created_at": upload.created_at.isoformat()}
    replace_text(folder / _FACTS, json.dumps(facts), settings.umask_bits | 0o007)


def _read(path: Path) -> Upload | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        choice = Choice(**facts["choice"] | {"segments": tuple(facts["choice"]["segments"])})
        replaced = Replaced(**facts["replaced"]) if facts["replaced"] else None
        return Upload(
            **facts
            | {"created_at": datetime.fromisoformat(facts["created_at"]), "choice": choice, "replaced": replaced}
        )
    except (OSError, ValueError, KeyError, TypeError):  # it was removed meanwhile, or another release wrote it
        return None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{folder} cannot be written: {reason}. Check the disk and SEGADMIN_STORE.") from None
