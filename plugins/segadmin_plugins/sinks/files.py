"""Writing a file whole, or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl

from segadmin.errors import StorageError


def write_whole(frame: pl.LazyFrame, path: Path, write: Callable[[pl.DataFrame, Path], object]) -> int:
    """Write beside ``path``, flush, and rename over it; return the number of rows.

    Raises:
        StorageError: it cannot be written there.
    """
    found = frame.collect()
    draft = path.with_name(f".segadmin-{os.getpid()}-{threading.get_ident()}")  # as long as names may be
    try:
        write(found, draft)
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
            draft.unlink()  # gone already where all went well
    return found.height
