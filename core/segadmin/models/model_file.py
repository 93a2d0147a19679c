"""Model files (``.segmodel``): a model version as one file, with a table of contents that can be signed.

The file is a tar without compression, which weights would not gain from: ``contents.json``, ``signature.json`` if it is
signed, then every file of the version under ``model/``, in the order of the contents. Every byte is determined by the
contents and the files, so a reader compares instead of interpreting: what differs, such as a link, is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator

from segadmin.errors import DataError, PluginContractError
from segadmin.files import file_digest, make_folder, open_plain, unsafe_files
from segadmin.models.signature import Signer

#: The ending of a model file, and the version of its format; newer ones are refused.
SUFFIX, FORMAT = ".segmodel", 1
_CONTENTS, _SIGNATURE, _FOLDER = "contents.json", "signature.json", "model/"
#: Files that cannot run code when they are read: weights, tokenizers, options, trees.
_ALLOWED = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".md"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_BLOCK, _CHUNK = tarfile.BLOCKSIZE, 2**20
_LONGEST_NAME, _MOST_FILES = 94, 10_000  #: of a name without ``model/``: a tar header has room for 100 bytes
_LARGEST_CONTENTS, _LARGEST_SIGNATURE = 4 * 2**20, 4096
_END = bytes(2 * _BLOCK)


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True)


class ListedFile(_Written):
    """One file of the version."""

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(f"the name {name!r} {problem}")
        return name


class Contents(_Written):
    """The table of contents, which the signature is of."""

    format: int
    segadmin: str = ""  #: the release that wrote the file
    store: str = ""  #: id of the store that the version comes from
    version: int = 0  #: its number there
    tested: dict[str, FiniteFloat] = {}  #: its metrics there: ``rows``, ``auroc``, …
    signed_by: str = ""  #: public key; empty if the file is not signed
    files: tuple[ListedFile, ...] = Field(min_length=1, max_length=_MOST_FILES)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        names = [file.name.casefold() for file in self.files]  # some file systems ignore case
        folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
        for name, times in Counter(names).items():
            if times > 1 or name in folders:
                raise ValueError(f"{name!r} is listed twice")
        return self


class Signature(_Written):
    """The signature of the contents."""

    key: str
    signature: str


def name_problem(name: str) -> str:
    """Return why a model file may not hold a file of this name; empty if it may."""
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name) or ".." in PurePosixPath(name).parts:
        return f"is not a relative path of at most {_LONGEST_NAME} letters, digits and ._+-"
    if PurePosixPath(name).suffix.lower() not in _ALLOWED:
        return f"has none of the endings {' '.join(sorted(_ALLOWED))}, which run no code when they are read"
    return ""


def list_files(folder: Path) -> tuple[ListedFile, ...]:
    """Return what a model file of ``folder`` lists, in the order of the names.

    Raises:
        PluginContractError: the folder holds what a model file may not.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    problems = [f"{name!r} {problem}" for name in sorted(paths) if (problem := name_problem(name))]
    problems += [f"{path.name!r} is a link or a pickle" for path in unsafe_files(folder)]
    if problems:
        raise PluginContractError(f"The version cannot be one file: {problems[0]}. Export it as a folder: --out FOLDER")
    return tuple(
        ListedFile(name=name, size=path.stat().st_size, sha256=file_digest(path))
        for name, path in sorted(paths.items())
    )


def write_model_file(path: Path, folder: Path, contents: Contents, signer: Signer | None, umask: int) -> None:
    """Write ``folder``, whose files ``contents`` lists, to the new file ``path``, durably but not atomically.

    Raises:
        OSError: it cannot be written.
    """
    contents = contents.model_copy(update={"signed_by": signer.public if signer else ""})
    table = contents.model_dump_json(indent=1).encode()
    head = {_CONTENTS: table}
    if signer is not None:
        head[_SIGNATURE] = Signature(key=signer.public, signature=signer.sign(table)).model_dump_json().encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~umask)
    with os.fdopen(descriptor, "wb") as file:
        for name, content in head.items():
            file.write(_header(name, len(content)) + content + _padding(len(content)))
        for listed in contents.files:
            file.write(_header(_FOLDER + listed.name, listed.size))
            with (folder / listed.name).open("rb") as source:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
            file.write(_padding(listed.size))
        file.write(_END)
        file.flush()
        os.fsync(descriptor)


@dataclass(frozen=True)
class ModelFile:
    """An open model file whose contents were read; whether to trust them is for the caller to decide."""

    path: Path
    contents: Contents
    table: bytes  #: the contents as they were written
    signature: Signature | None
    _file: IO[bytes]

    def extract(self, folder: Path, umask: int) -> None:
        """Write the files of the version into the new ``folder``, comparing every byte with the contents.

        Raises:
            DataError: the file is altered or incomplete, or holds what may run code.
            OSError: the folder cannot be written.
        """
        make_folder(folder, umask)
        for listed in self.contents.files:
            if _read(self._file, self.path, _BLOCK) != _header(_FOLDER + listed.name, listed.size):
                raise _altered(self.path, f"{listed.name} is not where, or not what, its contents list")
            target = folder / listed.name
            make_folder(target.parent, umask)
            self._extract_one(listed, target, umask)
        if _read(self._file, self.path, len(_END)) != _END or self._file.read(1):
            raise _altered(self.path, "it goes on after its end")
        if unsafe := unsafe_files(folder):
            raise DataError(
                f"{self.path} holds {unsafe[0].name!r}, which may run code when it is read. It is not a model file of "
                "segadmin: do not use it."
            )

    def _extract_one(self, listed: ListedFile, target: Path, umask: int) -> None:
        digest, left = hashlib.sha256(), listed.size
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~umask)
        with os.fdopen(descriptor, "wb") as file:
            while left:
                chunk = _read(self._file, self.path, min(left, _CHUNK))
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
        padding = _padding(listed.size)
        if digest.hexdigest() != listed.sha256 or _read(self._file, self.path, len(padding)) != padding:
            raise _altered(self.path, f"{listed.name} has other content than when it was exported")


@contextmanager
def open_model_file(path: Path) -> Iterator[ModelFile]:
    """Open a model file and read its contents; nothing is written.

    Raises:
        DataError: it cannot be read, is no model file, or is cut off, altered or of a newer format.
    """
    try:
        file = open_plain(path)
    except OSError as error:
        raise DataError(f"The model file {path} cannot be read: {error.strerror}. Check the path.") from None
    with file:
        table = _read_member(file, path, _CONTENTS, _LARGEST_CONTENTS)
        contents = _parse_contents(path, table)
        signature = None
        if contents.signed_by:
            written = _read_member(file, path, _SIGNATURE, _LARGEST_SIGNATURE)
            try:
                signature = Signature.model_validate_json(written)
            except ValidationError:
                raise _altered(path, "its signature cannot be read") from None
        _check_size(path, file, contents)
        yield ModelFile(path, contents, table, signature, file)


def _parse_contents(path: Path, table: bytes) -> Contents:
    try:
        written = json.loads(table)
        number = written["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _altered(path, "its table of contents cannot be read") from None
    if number != FORMAT:
        raise DataError(
            f"{path} has the format {number!r}, and this segadmin reads {FORMAT}. Upgrade segadmin here, or export "
            "the version with this release there."
        )
    try:
        return Contents.model_validate_json(table)  # which, unlike json, refuses text that is not Unicode
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{path} cannot be imported: {first['msg'].removeprefix('Value error, ')} "
            f"({'.'.join(map(str, first['loc'])) or 'contents'}). Ask for a new export of the version."
        ) from None


def _check_size(path: Path, file: IO[bytes], contents: Contents) -> None:
    """Compare the size with what the contents add up to, before anything is written.

    Raises:
        DataError: it is another.
    """
    rest = sum(_BLOCK + listed.size + len(_padding(listed.size)) for listed in contents.files)
    expected, size = file.tell() + rest + len(_END), os.fstat(file.fileno()).st_size
    if size < expected:
        raise _cut_off(path, size, expected)
    if size > expected:
        raise _altered(path, f"it has {size - expected:,} bytes that its table of contents does not list")


def _read_member(file: IO[bytes], path: Path, name: str, largest: int) -> bytes:
    """Return the content of the next member, which must be called ``name``."""
    header = file.read(_BLOCK)
    try:
        size = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
    except (tarfile.HeaderError, UnicodeError):
        size = -1
    if size < 0 or header != _header(name, size):
        raise DataError(
            f"{path} is not a model file, or its beginning is damaged. Write one where the version is: segadmin models "
            f"export VERSION --out model{SUFFIX}"
        )
    if size > largest:
        raise _altered(path, f"{name} would have {size:,} bytes")
    content, padding = _read(file, path, size), _padding(size)
    if _read(file, path, len(padding)) != padding:
        raise _altered(path, f"{name} does not end where it should")
    return content


def _read(file: IO[bytes], path: Path, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise _cut_off(path, file.tell(), None)
    return content


def _header(name: str, size: int) -> bytes:
    """Return the one tar header that a model file has for a file; larger than 8 GiB is possible in GNU's format."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _altered(path: Path, what: str) -> DataError:
    return DataError(f"{path} is damaged or was altered: {what}. Copy it again, or ask for a new export.")


def _cut_off(path: Path, size: int, expected: int | None) -> DataError:
    of = "" if expected is None else f" of {expected:,}"
    return DataError(f"{path} is cut off: it ends after {size:,}{of} bytes. Copy it again.")
