"""Files that are there complete, or not at all; and paths that stay where they belong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath

from segadmin.errors import StorageError

#: Endings of files that may run code when they are read: no artifact holds any.
UNSAFE_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dill", ".h5", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".py", ".so"}
)


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
