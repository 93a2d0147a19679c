"""The inbox: posted events on disk until an import moves them into the lake.

A batch that cannot be imported is set aside, so that it does not block other batches.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psutil import pid_exists

from segadmin.errors import DataError, StorageError, did_you_mean
from segadmin.files import put
from segadmin.settings import Settings

#: The identity of the inbox as a queue.
INBOX = "inbox"


@dataclass(frozen=True)
class FailedBatch:
    """A batch that was set aside."""

    name: str
    reason: str
    attempts: int
    failed_at: str  #: ISO 8601, UTC
    bytes: int


@dataclass(frozen=True)
class Inbox:
    """A folder of batches, each a file of JSON lines named by its content."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Inbox:
        """Return the inbox of the store."""
        return cls(settings.store_path / "inbox")

    @property
    def failed_folder(self) -> Path:
        """The folder of batches that were set aside, each with a file that holds the reason."""
        return self.folder.with_name("inbox-failed")

    def add(self, lines: Sequence[str]) -> str:
        """Store a batch durably, and return its name.

        The same batch always has the same name, so a client can safely send it again.

        Raises:
            StorageError: the disk is full or fails.
        """
        content = "".join(f"{line}\n" for line in lines).encode()
        name = hashlib.sha256(content).hexdigest()[:32]
        self._write(self.folder / f"{name}.jsonl", content)
        return name

    def replace(self, batch: Path, lines: Sequence[str]) -> None:
        """Replace the lines of a batch, or remove it if there are none.

        Raises:
            StorageError: the disk is full or fails.
        """
        if lines:
            self._write(batch, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
        else:
            self.remove([batch])

    def drop_drafts(self) -> None:
        """Remove incomplete files of ended processes, which never confirmed those batches."""
        for draft in self.folder.glob(".*.*.*"):
            if not pid_exists(int(draft.name.split(".")[2])):
                draft.unlink(missing_ok=True)

    def batches(self) -> list[Path]:
        """Return the waiting batches, oldest first."""
        return _oldest_first(self.folder)

    def oldest(self) -> float | None:
        """Return the time of the oldest waiting batch (seconds since 1970); ``None`` if there is none."""
        return next((time / 1e9 for time, _ in _with_times(self.folder)), None)

    def failures(self) -> dict[str, int]:
        """Return name of the batch → number of failed attempts; without batches that were never tried.

        An attempt counts as failed until it is complete, so killed processes count.
        """
        return {name: count for name, count in _read(self._attempts).items() if isinstance(count, int)}

    def begin(self, batches: Sequence[Path]) -> None:
        """Count an attempt at reading each of these batches.

        Raises:
            StorageError: the disk is full or fails.
        """
        counts = self.failures()
        self._write_attempts(counts | {batch.stem: counts.get(batch.stem, 0) + 1 for batch in batches})

    def undo(self, batches: Sequence[Path]) -> None:
        """Do not count the last attempt at these batches, which failed for another reason."""
        counts = self.failures()
        self._write_attempts(counts | {batch.stem: counts.get(batch.stem, 0) - 1 for batch in batches})

    def remove(self, batches: Sequence[Path]) -> None:
        """Remove batches that were imported or are no longer needed."""
        for batch in batches:
            batch.unlink(missing_ok=True)
            batch.with_suffix(".json").unlink(missing_ok=True)
        names = {batch.stem for batch in batches}
        self._write_attempts({name: count for name, count in self.failures().items() if name not in names})

    def set_aside(self, batch: Path, reason: str) -> None:
        """Move a batch out of the inbox, and store the reason.

        Raises:
            StorageError: the disk is full or fails.
        """
        facts = {
            "reason": reason,
            "attempts": self.failures().get(batch.stem, 0),
            "failed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._write(self.failed_folder / f"{batch.stem}.json", json.dumps(facts).encode())
        with self._moving():
            batch.rename(self.failed_folder / batch.name)
        self.remove([batch])

    def failed_batches(self) -> list[Path]:
        """Return the files of the batches that were set aside, oldest first."""
        return _oldest_first(self.failed_folder)

    def failed(self) -> list[FailedBatch]:
        """Return the batches that were set aside, oldest first."""
        batches = []
        for path in self.failed_batches():
            facts = _read(path.with_suffix(".json"))
            with suppress(FileNotFoundError):  # another process has just put it back or deleted it
                batches.append(
                    FailedBatch(
                        name=path.stem,
                        reason=str(facts.get("reason", "")),
                        attempts=int(facts.get("attempts", 0)),
                        failed_at=str(facts.get("failed_at", "")),
                        bytes=path.stat().st_size,
                    )
                )
        return batches

    def change_reasons(self, change: Callable[[str], str]) -> None:
        """Change the reasons for which batches were set aside.

        Raises:
            StorageError: the disk is full or fails.
        """
        for batch in self.failed_batches():
            facts = _read(batch.with_suffix(".json"))
            if (reason := change(str(facts.get("reason", "")))) != facts.get("reason", ""):
                self._write(batch.with_suffix(".json"), json.dumps(facts | {"reason": reason}).encode())

    def put_back(self, name: str) -> None:
        """Return a batch that was set aside to the inbox, for the next import.

        Raises:
            DataError: there is no such batch.
            StorageError: the disk is full or fails.
        """
        batch = self.check_failed(name)
        with self._moving():
            self.folder.mkdir(parents=True, exist_ok=True)
            batch.rename(self.folder / batch.name)
            batch.with_suffix(".json").unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Delete a batch that was set aside.

        Raises:
            DataError: there is no such batch.
            StorageError: the disk fails.
        """
        batch = self.check_failed(name)
        with self._moving():
            batch.unlink()
            batch.with_suffix(".json").unlink(missing_ok=True)

    def check_failed(self, name: str) -> Path:
        """Return the file of a batch that was set aside.

        Raises:
            DataError: there is no such batch.
        """
        names = {path.stem: path for path in self.failed_batches()}
        if name not in names:
            raise DataError(f"No batch {name!r} is set aside.{did_you_mean(name, names)} Look: segadmin data inbox")
        return names[name]

    @property
    def _attempts(self) -> Path:
        return self.folder / "attempts.json"

    def _write_attempts(self, counts: dict[str, int]) -> None:
        counts = {name: count for name, count in counts.items() if count > 0}
        if counts or self._attempts.exists():
            self._write(self._attempts, json.dumps(counts).encode())

    def _write(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.stem}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            put(draft, path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{path.parent} cannot be written: {error.strerror}. Check the disk.") from None

    @contextmanager
    def _moving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self.failed_folder} cannot be written: {error.strerror}. Check the disk.") from None


def _oldest_first(folder: Path) -> list[Path]:
    return [path for _, path in _with_times(folder)]


def _with_times(folder: Path) -> list[tuple[int, Path]]:
    """Return ``(time, path)`` of a folder's batches, sorted by time (nanoseconds since 1970)."""
    batches = []
    for path in folder.glob("*.jsonl"):
        with suppress(FileNotFoundError):  # removed by another process
            batches.append((path.stat().st_mtime_ns, path))
    return sorted(batches)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
