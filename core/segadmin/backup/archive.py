"""The file of a backup: a tar archive whose last member lists the SHA-256 of all others."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, cast

from segadmin.errors import DataError, StorageError
from segadmin.files import open_plain, sync

#: The last member: an archive without it was cut off.
CONTENTS = "contents.json"
#: Version of the layout of the archive.
FORMAT = 1
#: Header of the table of contents with its own SHA-256.
_DIGEST = "SEGADMIN.sha256"
_ONLY_OWNER = 0o600


@dataclass(frozen=True)
class Contents:
    """The table of contents: what is in the archive, and where it comes from."""

    version: str  #: of segadmin
    revision: str  #: of the database's schema
    created: str  #: ISO 8601, UTC
    tables: tuple[str, ...]  #: of the database, referenced ones first
    files: dict[str, str] = field(default_factory=dict)  #: name of the member → SHA-256

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Contents:
        """Return the contents that ``facts`` describe.

        Raises:
            TypeError: they do not.
        """
        contents = cls(**facts)
        texts = (contents.version, contents.revision, contents.created, *contents.tables)
        if not isinstance(contents.files, dict) or not all(
            isinstance(text, str) for text in (*texts, *contents.files, *contents.files.values())
        ):
            raise TypeError("a value of another type")
        return contents

    @property
    def text(self) -> str:
        """The contents as JSON text."""
        return json.dumps({"format": FORMAT, **vars(self)}, indent=1)


class Changed(StorageError):
    """A file was removed or written while it was copied."""


class Readable(Protocol):
    """What a member is copied from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        ...


class _Hashing:
    """Passes bytes on, and computes their SHA-256."""

    def __init__(self, file: Readable, copied: Callable[[int], None]) -> None:
        self._file, self._copied, self.digest = file, copied, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        block = self._file.read(size)
        self.digest.update(block)
        self._copied(len(block))
        return block


@dataclass
class Writer:
    """Adds members to an archive that is being written."""

    file: IO[bytes]
    archive: tarfile.TarFile  #: over ``file``
    copied: Callable[[int], None]
    files: dict[str, str] = field(default_factory=dict)  #: name → SHA-256 of what was added

    def add(self, name: str, source: IO[bytes], size: int, headers: Mapping[str, str] | None = None) -> None:
        """Add ``size`` bytes of ``source`` as the member ``name``."""
        member = tarfile.TarInfo(name)
        member.pax_headers = dict(headers or {})
        member.size, member.mode = size, _ONLY_OWNER
        hashing = _Hashing(source, self.copied)
        self.archive.addfile(member, cast("IO[bytes]", hashing))  # it only reads
        self.files[name] = hashing.digest.hexdigest()

    def add_file(self, name: str, path: Path) -> None:
        """Add the file ``path`` as the member ``name``; nothing is added if it is not there or changes meanwhile.

        Raises:
            Changed: another process removed or wrote it.
            OSError: it cannot be read.
        """
        start = self.archive.offset
        try:
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                self.add(name, file, before.st_size)
                after = os.fstat(file.fileno())
        except FileNotFoundError:
            raise Changed(f"{path} was removed while the backup was made. Run the command again.") from None
        except OSError:
            if path.exists() and path.stat().st_size >= before.st_size:
                raise
            self._forget(name, start)  # it was cut
            raise Changed(f"{path} was changed while the backup was made. Run the command again.") from None
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self._forget(name, start)
            raise Changed(f"{path} was changed while the backup was made. Run the command again.")

    def _forget(self, name: str, start: int) -> None:
        """Remove what was written of a member from the end of the archive."""
        self.file.seek(start)
        self.file.truncate()
        self.archive.offset = start
        members: list[tarfile.TarInfo] = vars(self.archive)["members"]
        members[:] = [member for member in members if member.name != name]
        self.files.pop(name, None)

    def finish(self, contents: Contents) -> None:
        """Add the table of contents."""
        text = contents.text.encode()
        self.add(CONTENTS, io.BytesIO(text), len(text), {_DIGEST: hashlib.sha256(text).hexdigest()})


@contextmanager
def new_archive(out: Path, copied: Callable[[int], None]) -> Iterator[Writer]:
    """Write an archive that only its owner can read; it appears as ``out``, complete and on disk, or not at all.

    Raises:
        StorageError: ``out`` exists, or cannot be written.
    """
    draft = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        if out.exists():
            raise FileExistsError
        with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, _ONLY_OWNER), "w+b") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                yield Writer(file, archive, copied)
            file.flush()
            os.fsync(file.fileno())
        _put_new(draft, out)
        sync(out.parent)
    except FileExistsError:
        raise StorageError(f"{out} exists, and is not overwritten. Choose another name.") from None
    except OSError as error:
        raise StorageError(f"{error.filename or out} cannot be copied: {error.strerror or error}. Check it.") from None
    finally:
        draft.unlink(missing_ok=True)


def _put_new(draft: Path, out: Path) -> None:
    try:
        os.link(draft, out)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as FAT
        if out.exists():
            raise FileExistsError from None
        draft.rename(out)


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[tarfile.TarFile, Contents]]:
    """Open an archive, and read its table of contents.

    Raises:
        DataError: it is not a backup, was cut off, or a newer version of segadmin wrote it.
    """
    try:
        with open_plain(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            yield archive, _contents(path, archive)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}. Name a backup that segadmin backup made.") from None
    except OSError as error:
        raise StorageError(f"{error.filename or path} cannot be used: {error.strerror or error}.") from None
    except tarfile.TarError as error:
        raise DataError(f"{path} is not a backup, or is damaged: {error}. Use another one.") from None


def _contents(path: Path, archive: tarfile.TarFile) -> Contents:
    members = archive.getmembers()
    if not members or members[-1].name != CONTENTS:
        raise DataError(f"{path} is not a backup, or was cut off: it does not end with {CONTENTS}. Use another one.")
    try:
        text = extracted(archive, members[-1]).read()
        if hashlib.sha256(text).hexdigest() != members[-1].pax_headers.get(_DIGEST):
            raise ValueError("another SHA-256")
        facts: dict[str, Any] = json.loads(text)
        number = facts.pop("format")
        if type(number) is not int or number < 1:
            raise ValueError("no format")
        if number > FORMAT:
            raise DataError(f"{path} was made by segadmin {facts['version']}, which is newer. Upgrade segadmin first.")
        contents = Contents.of(facts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{path}: its {CONTENTS} is damaged. Use another backup.") from None
    _check_members(path, members[:-1], set(contents.files))
    return contents


def _check_members(path: Path, members: list[tarfile.TarInfo], names: set[str]) -> None:
    """Check that the members are plain files, each listed once."""
    seen: set[str] = set()
    for member in members:
        if not member.isreg():
            raise DataError(f"{path}: {member.name!r} is not a plain file, but a link or the like. It is no backup.")
        if member.name in seen or member.name not in names:
            raise DataError(f"{path}: {member.name!r} is not in its {CONTENTS}, or twice in it. It is no backup.")
        seen.add(member.name)
    if missing := names - seen:
        raise DataError(f"{path} lacks {min(missing)!r}, so it was changed or cut off. Use another backup.")


def extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """Return the bytes of a member, which is a plain file."""
    file = archive.extractfile(member)
    assert file is not None
    return file


def copy_member(
    archive: tarfile.TarFile, name: str, sha256: str, out: IO[bytes], copied: Callable[[int], None]
) -> None:
    """Copy a member to ``out``, and compare its SHA-256.

    Raises:
        DataError: it is not what was saved.
    """
    try:
        member = archive.getmember(name)
    except KeyError:  # a name that no archive has, such as one that ends in a slash
        raise DataError(f"{name!r} is not in the backup. Use another one.") from None
    hashing = _Hashing(extracted(archive, member), copied)
    while block := hashing.read(2**20):
        out.write(block)
    if hashing.digest.hexdigest() != sha256:
        raise DataError(f"{name!r} in the backup is damaged: its SHA-256 differs. Use another backup.")
