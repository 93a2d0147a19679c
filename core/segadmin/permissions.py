"""Permissions of stored files: other users of this machine get none, unless ``SEGADMIN_UMASK`` allows it."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from segadmin.errors import InvalidSettings
from segadmin.settings import Settings, get_settings

_ALL, _GROUP, _OTHERS = 0o077, 0o070, 0o007
#: SEGADMIN_UMASK → the permissions to remove, in the notation of ``chmod``.
_CHMOD_MODES = {"077": "go-rwx", "027": "g-w,o-rwx", "007": "o-rwx"}


def use_umask() -> None:
    """Set the umask of the settings for this process and its children; the strictest one if settings are invalid."""
    try:
        umask = get_settings().umask_bits
    except InvalidSettings:  # reported where the settings are used
        umask = _ALL
    os.umask(umask)


@dataclass(frozen=True)
class Exposure:
    """Files under one folder, or a single file, that other users can access."""

    count: int  #: files and folders, up to the requested maximum
    example: Path
    mode: int  #: of the example
    fix: str  #: the command that removes the permissions, or another fix

    def __str__(self) -> str:
        """Return the problem as a sentence without a full stop."""
        mode, problem = f"({stat.filemode(self.mode)})", "open to other users of this machine"
        if self.count == 1:
            return f"{self.example} {mode} is {problem}"
        return f"{self.count:,} files and folders are {problem}, such as {self.example} {mode}"


def exposures(settings: Settings, at_most: int | None = None) -> Iterator[Exposure]:
    """Yield permissions that ``SEGADMIN_UMASK`` forbids: under home, under the store, and of database files.

    Folders that others cannot enter are not searched, so a private home is checked by a single ``lstat``.

    Args:
        settings: the folders and the umask.
        at_most: maximum number of files and folders to report of each.
    """
    for root in _roots(settings):
        exposed = list(islice(_exposed(root, settings.umask_bits), at_most))
        if exposed:
            path, status = exposed[0]
            foreign = any(status.st_uid != os.geteuid() for _, status in exposed)
            yield Exposure(len(exposed), path, status.st_mode, _fix(settings, root, foreign=foreign))


def _roots(settings: Settings) -> list[Path]:
    """Return home, the store, the socket and the files of a SQLite database, without nested ones."""
    roots = [settings.root]
    socket = [settings.redis_socket] if settings.embedded_broker else []
    for path in (settings.store_path, *socket, *settings.database_files):
        if not any(path.is_relative_to(root) for root in roots):
            roots.append(path)
    return roots


def _exposed(path: Path, umask: int, reach: int = _ALL) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what others can access; ``reach`` holds the permission bits of those who can enter the parent folder."""
    try:
        status = path.lstat()
        mode = status.st_mode
        if stat.S_ISLNK(mode):  # its target is not part of the store
            return
        if mode & umask & reach:
            yield path, status
        inner = (reach & _GROUP if mode & stat.S_IXGRP else 0) | (reach & _OTHERS if mode & stat.S_IXOTH else 0)
        children = list(path.iterdir()) if stat.S_ISDIR(mode) and inner & umask else []
    except OSError:  # deleted in the meantime, or not readable by this user
        return
    for child in children:
        yield from _exposed(child, umask, inner)


def _fix(settings: Settings, root: Path, *, foreign: bool) -> str:
    if not _keeps_modes(root):
        return f"its file system has no permissions: mount it with umask={settings.umask}, or move {root} to another"
    sudo = "sudo " if foreign and os.geteuid() != 0 else ""
    return f"{sudo}chmod -R {_CHMOD_MODES[settings.umask]} {shlex.quote(str(root))}"


def _keeps_modes(root: Path) -> bool:
    """Whether the file system stores permissions; assumed for a read-only one."""
    try:
        with tempfile.TemporaryFile(dir=root if root.is_dir() else root.parent) as file:
            return not os.fstat(file.fileno()).st_mode & _ALL
    except OSError:
        return True
