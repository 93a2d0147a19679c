"""Models that stay loaded in a process between steps and requests, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Loaded = TypeVar("Loaded")
#: Of each file of a model's folder: its path, size, and time of the last change.
_Files = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _Entry(Generic[Loaded]):
    model: Loaded
    files: _Files
    made_with: object

    @property
    def size(self) -> int:
        """The bytes of the files, which is about what the model takes in memory."""
        return sum(size for _, size, _ in self.files)


class WarmModels(Generic[Loaded]):
    """The models that were used last; a model whose files were changed is loaded again.

    Methods may be called from several threads.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[Path, _Entry[Loaded]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, folder: Path, most: int, made_with: object, load: Callable[[], Loaded]) -> Loaded:
        """Return the model in ``folder``, loaded now or before.

        Args:
            folder: the model's files.
            most: bytes of all models that stay loaded; a larger model does not stay.
            made_with: what else the model depends on: if it is another, the model is loaded again.
            load: loads and checks it.
        """
        with self._lock:
            files = _files(folder)
            entry = self._entries.get(folder)
            if entry is not None and entry.files == files and entry.made_with == made_with:
                self._entries.move_to_end(folder)
                return entry.model
            self._entries.pop(folder, None)
            entry = _Entry(load(), files, made_with)
            if entry.size <= most:
                self._entries[folder] = entry
                while sum(other.size for other in self._entries.values()) > most:
                    self._entries.popitem(last=False)
            return entry.model

    def clear(self) -> None:
        """Forget all models, for work that needs the memory."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def _files(folder: Path) -> _Files:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    facts = ((path, path.lstat()) for path in paths)
    return tuple((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in facts)
