"""Letting one import write at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from segadmin.errors import StorageError
from segadmin.files import make_folder
from segadmin.settings import Settings
from segadmin.store import check_folder


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Wait until no other process imports into this store, and keep others waiting meanwhile.

    What is new, an event or a user, is told by what the lake holds; two imports at once would each not see the
    other's, and the lake would hold them twice. The kernel drops the lock of a process that dies.

    Raises:
        StorageError: the store cannot be written.
        SegadminError: the folder is not the database's store; see :func:`segadmin.store.check_folder`.
    """
    check_folder(settings)
    path = settings.store_path / "import.lock"
    try:
        make_folder(path.parent, settings.umask_bits)
        lock = path.open("w")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}. Check SEGADMIN_STORE.") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
