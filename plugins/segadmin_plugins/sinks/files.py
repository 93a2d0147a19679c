"""Writing files atomically."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl

from segadmin.errors import StorageError


def write_whole(frame: pl.LazyFrame, path: Path, write: Callable[[pl.DataFrame, Path], object]) -> int:
    """Write to a draft in the same folder, flush it, and rename it to ``path``; return the number of rows.

    Raises:
        StorageError: the file cannot be written.
    """
    rows = frame.collect()
    draft = path.with_name(f".segadmin-{os.getpid()}-{threading.get_ident()}")  # short: file names have a length limit
    try:
        write(rows, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}. Check the folder.") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"{path} cannot be written: {reason}. Choose another kind of file.") from None
    finally:
        with suppress(OSError):
            draft.unlink()  # it no longer exists after a successful rename
    return rows.height
