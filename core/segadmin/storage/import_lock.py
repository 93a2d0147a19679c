"""Letting one import write at a time, and nobody read users who are being erased."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from segadmin.errors import JobError, StorageError
from segadmin.files import make_folder
from segadmin.settings import Settings
from segadmin.storage.store import check_folder

_IMPORT, _ERASURE = "import.lock", "erasure.lock"
#: How long an erasure waits for steps.
_PATIENCE_SECONDS = 60.0


@contextmanager
def alone(settings: Settings, *, known: bool = True) -> Iterator[None]:
    """Wait until no other process imports into this store, and keep others waiting meanwhile.

    What is new, an event or a user, is told by what the lake holds; two imports at once would each not see the
    other's, and the lake would hold them twice. The kernel drops the lock of a process that dies.

    Args:
        settings: where the store is.
        known: whether the folder must be the store that the database knows.

    Raises:
        StorageError: the store cannot be written.
        SegadminError: the folder is not the database's store; see :func:`segadmin.storage.store.check_folder`.
    """
    with _locked(settings, _IMPORT, fcntl.LOCK_EX, known=known):
        yield


def is_importing(settings: Settings) -> bool:
    """Whether some process holds what :func:`alone` waits for: an import, mostly."""
    try:
        with (settings.store_path / _IMPORT).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def users_stay(settings: Settings) -> Iterator[None]:
    """Wait until no erasure is going on, and let none begin meanwhile: what a step of a job does with users.

    A step that read an erased user just before would write that user down again; and an erasure removes every file of
    the lake that no table names, so also one that a step is about to commit.

    Raises:
        StorageError, SegadminError: as :func:`alone` does.
    """
    with _locked(settings, _ERASURE, fcntl.LOCK_SH):
        yield


@contextmanager
def no_step_runs(settings: Settings) -> Iterator[None]:
    """Wait until no step of a job runs, and let none begin meanwhile; whoever needs :func:`alone` too takes it inside.

    Raises:
        JobError: one runs for longer than a minute.
        StorageError, SegadminError: as :func:`alone` does.
    """
    with ExitStack() as stack:
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                stack.enter_context(_locked(settings, _ERASURE, fcntl.LOCK_EX | fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise JobError(
                        "A step of a job is still running that reads users' data: its job may have been cancelled just "
                        "now. Try again in a moment, or look: segadmin jobs list"
                    ) from None
                time.sleep(0.1)
        yield


@contextmanager
def _locked(settings: Settings, name: str, operation: int, *, known: bool = True) -> Iterator[None]:
    if known:
        check_folder(settings)
    path = settings.store_path / name
    try:
        make_folder(path.parent, settings.umask_bits)
        lock = path.open("w")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}. Check SEGADMIN_STORE.") from None
    with lock:
        fcntl.flock(lock, operation)
        yield
