"""A file that exists during an erasure and names its users, so that an interrupted erasure can be completed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from segadmin.errors import StorageError
from segadmin.files import put
from segadmin.settings import Settings


def was_interrupted(settings: Settings) -> bool:
    """Whether an erasure was interrupted: some data stays on disk until the next one completes it."""
    return _path(settings).exists()


def begin(settings: Settings, names: Mapping[int, str]) -> None:
    """Write the users who are being erased: key → the shop's id.

    Raises:
        StorageError: the disk is full or fails.
    """
    draft = _path(settings).with_suffix(".draft")
    try:
        draft.write_text(json.dumps(names))
        put(draft, _path(settings))
    except OSError as error:
        raise StorageError(f"{draft.parent} cannot be written: {error.strerror}. Check the disk.") from None


def users_left(settings: Settings) -> dict[int, str]:
    """Return the users of an interrupted erasure, as given to :func:`begin`; empty in files of older releases."""
    try:
        content = _path(settings).read_text()
    except FileNotFoundError:
        return {}
    return {int(key): name for key, name in json.loads(content).items()} if content else {}


def end(settings: Settings) -> None:
    """Remove the file when the erasure is complete."""
    _path(settings).unlink()


def _path(settings: Settings) -> Path:
    return settings.store_path / "erasure"
