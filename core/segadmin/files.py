"""Files that are there complete, or not at all; and paths that stay where they belong."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from segadmin.errors import StorageError

#: Endings of files that may run code when they are read: no artifact holds any.
UNSAFE_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dill", ".h5", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".py", ".so"}
)


def make_folder(folder: Path, umask: int) -> None:
    """Make ``folder`` and those above it that are missing, without the rights in ``umask``; what is there is left so.

    The process's own umask may be wider, where segadmin is a library of somebody else's program.

    Raises:
        OSError: it cannot be made, or is no folder.
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
    """Return this user's folder in the folder ``temporary``, where everybody may write; it is made if it is missing.

    Whoever makes it first would decide what is in it, and who listens on its sockets: it is looked at at each call.

    Raises:
        StorageError: it cannot be made, or somebody else owns it or may open it.
    """
    folder = Path(temporary) / f"segadmin-{os.getuid()}"
    try:
        folder.mkdir(0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}. Set TMPDIR to a folder of your own.") from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise StorageError(
            f"{folder} is not a folder that you alone may open. Remove it, or set TMPDIR to a folder of your own."
        )
    return folder


def put_once(path: Path, content: str, umask: int) -> None:
    """Write a file, whole and on disk, without the rights in ``umask``; one that is there already is left as it is.

    So of several processes that write it at once, the first one's is read by all.

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
    """Write a file, whole and on disk, without the rights in ``umask``, in place of one that may be there.

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
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(draft: Path, path: Path) -> None:
    """Give ``draft``, a file or a folder whose files are on disk, its final name, and see that the name lasts.

    The other way round a loss of power could leave the name without the content.
    """
    sync(draft)
    draft.rename(path)
    sync(path.parent)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of ``path`` in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(root: Path, relative: str) -> Path:
    """Return ``root/relative``, for a path that was read from somewhere.

    Raises:
        StorageError: it is a URL, is absolute, leaves ``root``, or goes over a symbolic link.
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
