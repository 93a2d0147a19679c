"""The inbox: events posted one moment ago, on disk, until an import takes them into the lake."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psutil import pid_exists

from segadmin.errors import StorageError
from segadmin.files import put
from segadmin.settings import Settings


@dataclass(frozen=True)
class Inbox:
    """A folder of batches, each a file of JSON lines named by its content."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Inbox:
        """Return the inbox of the store."""
        return cls(settings.store_path / "inbox")

    def add(self, lines: Sequence[str]) -> str:
        """Keep a batch, so that it outlives a loss of power, and return its name.

        The same batch again is the same file, so whoever does not know whether it arrived can send it again.

        Raises:
            StorageError: the disk is full or fails.
        """
        content = "".join(f"{line}\n" for line in lines).encode()
        name = hashlib.sha256(content).hexdigest()[:32]
        draft = self.folder / f".{name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            put(draft, self.folder / f"{name}.jsonl")
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{self.folder} cannot be written: {error.strerror}. Check the disk.") from None
        return name

    def replace(self, batch: Path, lines: Sequence[str]) -> None:
        """Leave only some lines in a batch, or remove it where there are none.

        Raises:
            StorageError: the disk is full or fails.
        """
        try:
            if not lines:
                batch.unlink()
                return
            draft = batch.with_name(f".{batch.stem}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
            draft.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
            put(draft, batch)
        except OSError as error:
            raise StorageError(f"{batch} cannot be written: {error.strerror}. Check the disk.") from None

    def drop_drafts(self) -> None:
        """Remove what processes that died were writing: nobody was told that it arrived."""
        for draft in self.folder.glob(".*.*.*"):
            if not pid_exists(int(draft.name.split(".")[2])):
                draft.unlink(missing_ok=True)

    def batches(self) -> list[Path]:
        """Return the batches that wait, the oldest first."""
        found = [(path.stat().st_mtime_ns, path) for path in self.folder.glob("*.jsonl")]
        return [path for _, path in sorted(found)]
