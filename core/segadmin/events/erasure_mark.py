"""The file that is there while users are erased, and says whom, so that an erasure that is killed can be finished."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from segadmin.errors import StorageError
from segadmin.files import put
from segadmin.settings import Settings


def was_interrupted(settings: Settings) -> bool:
    """Whether an erasure was interrupted: some of what it deletes is on the disk until the next one has finished."""
    return _path(settings).exists()


def begin(settings: Settings, names: Mapping[int, str]) -> None:
    """Note who is being erased: by key, the shop's id.

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
    """Return whom an interrupted erasure was for, as :func:`begin` takes them; older versions did not note it."""
    try:
        noted = _path(settings).read_text()
    except FileNotFoundError:
        return {}
    return {int(key): name for key, name in json.loads(noted).items()} if noted else {}


def end(settings: Settings) -> None:
    """Note that nothing is left of whom it was for."""
    _path(settings).unlink()


def _path(settings: Settings) -> Path:
    return settings.store_path / "erasure"
