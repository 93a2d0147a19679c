"""Who else on this machine may read or change what is stored: nobody, unless ``SEGADMIN_UMASK`` says so."""

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

_EVERYBODY, _GROUP, _OTHERS = 0o077, 0o070, 0o007
#: SEGADMIN_UMASK → the rights to take away, as ``chmod`` has them.
_TAKEN = {"077": "go-rwx", "027": "g-w,o-rwx", "007": "o-rwx"}


def use_umask() -> None:
    """Give this process, and those that it starts, the umask of the settings; the strictest where they are unusable."""
    try:
        umask = get_settings().umask_bits
    except InvalidSettings:  # whoever needs them says so
        umask = _EVERYBODY
    os.umask(umask)


@dataclass(frozen=True)
class Exposure:
    """What is under one folder, or is one file, and gives rights to others."""

    count: int  #: files and folders, up to the number that was asked for
    example: Path
    mode: int  #: of the example
    fix: str  #: the command that takes the rights away, or what else helps

    def __str__(self) -> str:
        """Return what is wrong, without an end."""
        shown, whom = f"({stat.filemode(self.mode)})", "open to other users of this machine"
        if self.count == 1:
            return f"{self.example} {shown} is {whom}"
        return f"{self.count:,} files and folders are {whom}, such as {self.example} {shown}"


def exposures(settings: Settings, at_most: int | None = None) -> Iterator[Exposure]:
    """Yield where something gives rights that ``SEGADMIN_UMASK`` takes: under home, the store, and of a database file.

    What is in a folder that others cannot enter is not looked at, so a private home costs one look.

    Args:
        settings: where they are, and the umask.
        at_most: stop behind so many files and folders of each.
    """
    for root in _roots(settings):
        found = list(islice(_exposed(root, settings.umask_bits), at_most))
        if found:
            path, facts = found[0]
            foreign = any(one.st_uid != os.geteuid() for _, one in found)
            yield Exposure(len(found), path, facts.st_mode, _fix(settings, root, foreign=foreign))


def _roots(settings: Settings) -> list[Path]:
    """Return home, the store, the socket and the files of a SQLite database; none within another."""
    roots = [settings.root]
    socket = [settings.redis_socket] if settings.embedded_broker else []
    for path in (settings.store_path, *socket, *settings.database_files):
        if not any(path.is_relative_to(root) for root in roots):
            roots.append(path)
    return roots


def _exposed(path: Path, umask: int, reach: int = _EVERYBODY) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what is open to others; ``reach`` are the rights of those who can come here at all."""
    try:
        facts = path.lstat()
        mode = facts.st_mode
        if stat.S_ISLNK(mode):  # the rights of what it names count, and that is no part of the store
            return
        if mode & umask & reach:
            yield path, facts
        inner = (reach & _GROUP if mode & stat.S_IXGRP else 0) | (reach & _OTHERS if mode & stat.S_IXOTH else 0)
        inside = list(path.iterdir()) if stat.S_ISDIR(mode) and inner & umask else []
    except OSError:  # gone meanwhile, or closed to us as well
        return
    for one in inside:
        yield from _exposed(one, umask, inner)


def _fix(settings: Settings, root: Path, *, foreign: bool) -> str:
    if not _keeps_modes(root):
        return f"its file system keeps no rights: mount it with umask={settings.umask}, or move {root} to another"
    sudo = "sudo " if foreign and os.geteuid() != 0 else ""
    return f"{sudo}chmod -R {_TAKEN[settings.umask]} {shlex.quote(str(root))}"


def _keeps_modes(root: Path) -> bool:
    """Whether the file system gives a file the rights that it was made with; a read-only one is taken to."""
    try:
        with tempfile.TemporaryFile(dir=root if root.is_dir() else root.parent) as file:
            return not os.fstat(file.fileno()).st_mode & _EVERYBODY
    except OSError:
        return True
