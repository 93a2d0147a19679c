"""Atomic writes of files, folders with restricted permissions, and paths that stay inside a folder."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from segadmin.errors import StorageError

#: Endings of files that may run code when they are read, and how such files begin whatever they are called: pickles
#: of every binary protocol, and the ZIP archives that torch puts pickles into.
_UNSAFE_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dill", ".h5", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".py", ".so"}
)
_UNSAFE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def unsafe_files(folder: Path) -> list[Path]:
    """Return what no artifact may hold of what is in ``folder``: files that run code when read, and links."""
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or (path.is_file() and _is_unsafe(path))]


def _is_unsafe(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":  # it begins with a length, which can be any bytes; its reader runs nothing
        return False
    with path.open("rb") as file:
        return suffix in _UNSAFE_SUFFIXES or file.read(4).startswith(_UNSAFE_STARTS)


def make_folder(folder: Path, umask: int) -> None:
    """Create ``folder`` and its missing parents without the permissions in ``umask``; existing folders stay unchanged.

    The process's own umask may be wider if another program uses segadmin as a library.

    Raises:
        OSError: it cannot be created, or is not a folder.
    """
    mode = 0o777 & ~umask
    try:
        folder.mkdir(mode, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent, umask)
        folder.mkdir(mode, exist_ok=True)


def private_folder(temporary: str) -> Path:
    """Return this user's folder in the world-writable folder ``temporary``; it is created if it is missing.

    Another user could create it first and control its files and sockets, so every call checks owner and permissions.

    Raises:
        StorageError: it cannot be created, or another user owns it or may open it.
    """
    folder = Path(temporary) / f"segadmin-{os.getuid()}"
    try:
        folder.mkdir(0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be created: {error.strerror}. Set TMPDIR to a folder of your own."
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StorageError(
            f"{folder} is not a folder that only you may open. Remove it, or set TMPDIR to a folder of your own."
        )
    return folder


def put_once(path: Path, content: str, umask: int) -> None:
    """Create a file atomically and durably, without the permissions in ``umask``; an existing file stays unchanged.

    If several processes write it at once, all of them read the first one's content.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_new(draft, content, umask)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links, such as FAT
            with suppress(FileExistsError):
                _write_new(path, content, umask)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def replace_text(path: Path, content: str, umask: int) -> None:
    """Create or replace a file atomically and durably, without the permissions in ``umask``.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_new(draft, content, umask)
        put(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _write_new(path: Path, content: str, umask: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~umask)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(draft: Path, path: Path) -> None:
    """Rename ``draft``, a file or a folder whose files are on disk, to ``path`` durably.

    The content is flushed before the name; otherwise a loss of power could leave the name without the content.
    """
    sync(draft)
    draft.rename(path)
    sync(path.parent)


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file to read. Unlike ``open``, it does not wait for the other end of a named pipe.

    Raises:
        OSError: it cannot be read, or is not a plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is not a plain file"
        raise OSError(errno.EINVAL, reason, str(path))
    return os.fdopen(descriptor, "rb")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of ``path`` in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_damage(folder: Path, sha256: str) -> str | None:
    """Return what is wrong with the folder whose :func:`folder_digest` was ``sha256``, to be read after its name."""
    if not folder.is_dir():
        return "is gone"
    for path in folder.rglob("*"):
        if path.is_symlink():
            return f"holds a symbolic link, {path.name}, which is not followed"
        if not (path.is_file() or path.is_dir()):  # to open a named pipe would wait for whoever writes to it
            return f"holds {path.name}, which is neither a file nor a folder"
    return "is damaged: a file has other content than was saved" if folder_digest(folder) != sha256 else None


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over the sorted names and digests of the files in ``folder``."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    lines = [f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def inside(root: Path, relative: str) -> Path:
    """Return ``root/relative`` for a path from an untrusted source.

    Raises:
        StorageError: it is a URL, is absolute, leaves ``root``, or passes through a symbolic link.
    """
    parts = PurePosixPath(relative).parts
    if not parts or "://" in relative or relative.startswith(("/", "~")) or ".." in parts or "\0" in relative:
        raise StorageError(f"{relative!r} is not a path inside {root}: only relative paths are followed.")
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise StorageError(f"{path} is a symbolic link, which is not followed. Put the files there themselves.")
    return path
