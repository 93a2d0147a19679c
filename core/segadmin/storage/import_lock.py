"""Locks of the store: one import writes at a time, and no step reads users who are being erased."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from segadmin.errors import JobError, StorageError
from segadmin.files import make_folder
from segadmin.settings import Settings
from segadmin.storage.store import check_folder

#: The files in the store that are locked; they are empty.
LOCKS = _IMPORT, _ERASURE = "import.lock", "erasure.lock"
#: How long an erasure waits for running steps.
_TIMEOUT_SECONDS = 120.0


@contextmanager
def alone(settings: Settings, *, registered: bool = True, wait_seconds: float | None = None) -> Iterator[None]:
    """Hold the exclusive import lock of this store; waits until no other process holds it.

    An import compares its events and users with the lake to find new ones. Two imports at once would not see each
    other's rows, and the lake would contain them twice. The kernel releases the lock when the process ends.

    Args:
        settings: location of the store.
        registered: whether the folder must be the store that is registered in the database.
        wait_seconds: wait no longer than this; default: as long as it takes.

    Raises:
        JobError: another process held the lock for ``wait_seconds``.
        StorageError: the store cannot be written.
        SegadminError: the folder is not the database's store; see :func:`segadmin.storage.store.check_folder`.
    """
    if wait_seconds is None:
        with _locked(settings, _IMPORT, fcntl.LOCK_EX, registered=registered):
            yield
        return
    busy = "An import is running, or a compaction or a backup. Try again when it has ended: segadmin data list"
    with _polled(settings, _IMPORT, wait_seconds, busy, registered=registered):
        yield


def is_importing(settings: Settings) -> bool:
    """Whether a process holds the lock of :func:`alone`, usually an import."""
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
    """Hold the shared erasure lock, as steps that read users do; waits until no erasure runs.

    Without it, a step that read a user before the erasure would write that user again. An erasure also removes all
    files of the lake that no table references, including those that a step is about to commit.

    Raises:
        StorageError, SegadminError: as in :func:`alone`.
    """
    with _locked(settings, _ERASURE, fcntl.LOCK_SH):
        yield


@contextmanager
def no_step_runs(settings: Settings) -> Iterator[None]:
    """Hold the exclusive erasure lock; waits until no step of a job runs. Take :func:`alone`, if needed, inside it.

    Raises:
        JobError: a step runs for longer than two minutes.
        StorageError, SegadminError: as in :func:`alone`.
    """
    busy = (
        "A step of a job is still running that reads users' data: its job may have been cancelled just now. Try again "
        "in a moment, or look: segadmin jobs list"
    )
    with _polled(settings, _ERASURE, _TIMEOUT_SECONDS, busy):
        yield


@contextmanager
def _polled(
    settings: Settings, name: str, wait_seconds: float, busy: str, *, registered: bool = True
) -> Iterator[None]:
    """Hold an exclusive lock; raise ``JobError`` with the text ``busy`` if it is not free after ``wait_seconds``."""
    with ExitStack() as stack:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                stack.enter_context(_locked(settings, name, fcntl.LOCK_EX | fcntl.LOCK_NB, registered=registered))
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise JobError(busy) from None
                time.sleep(0.1)
        yield


@contextmanager
def _locked(settings: Settings, name: str, operation: int, *, registered: bool = True) -> Iterator[None]:
    if registered:
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
