"""Errors of the disk while weights are written, as the errors of everything else that writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise ``OSError`` where safetensors has met an error of the disk of ``folder``, which it reports only as text.

    Raises:
        OSError: with the number that safetensors quotes, such as 28 for a full disk.
    """
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"(?:os error |code: )(\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(folder)) from error
