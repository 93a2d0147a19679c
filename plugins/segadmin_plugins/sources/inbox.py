"""Reading events that were posted to ``/v1/events``."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar

import polars as pl

from segadmin.contracts.source import Source
from segadmin.errors import ConfigurationError, StorageError
from segadmin.events.inbox import INBOX, Inbox
from segadmin.settings import Settings
from segadmin_plugins.sources.json_records import Record
from segadmin_plugins.sources.jsonl import posted_frames, posted_records

#: Most bytes of batches that are read together, and most rows of a frame.
_GROUP_BYTES, _FRAME_ROWS = 2**23, 50_000
#: Errors that no batch causes: of the disk, the database, the settings.
_ELSEWHERE = (StorageError, ConfigurationError, OSError)
_KILLED = "Reading it ended the process: it was killed, or went over a limit of memory or time."


class Posted(Source):
    """The inbox of the store: ``inbox://``.

    A batch is removed once it is stored. The events of a batch that is read twice are deduplicated.

    Batches that are read together fail together. So the batches of a failed read, or of a killed process, are read
    again one by one, after the others; a batch that fails alone is set aside.
    """

    name: ClassVar[str] = "inbox"
    schemes: ClassVar[tuple[str, ...]] = ("inbox",)
    consumes: ClassVar[bool] = True
    sets_aside: ClassVar[bool] = True

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings

    def with_settings(self, settings: Settings) -> Posted:
        """Return the source of the inbox of the installation's store."""
        return Posted(settings)

    def identity(self, where: str) -> str:
        """Return the name of the inbox."""
        return INBOX

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the present batches, small ones together."""
        settings = self._settings
        assert settings is not None, "Plugins.make sets the settings"
        inbox = Inbox.of(settings)
        # The last attempt of a job sets aside the batch that killed the others.
        most_failures = max(1, settings.max_attempts - 1)
        failures = inbox.failures()
        for batch in inbox.batches():
            if failures.get(batch.stem, 0) >= most_failures:
                inbox.set_aside(batch, _KILLED)
        suspects = sorted(
            (path for path in inbox.batches() if path.stem in failures), key=lambda path: failures[path.stem]
        )
        others = [path for path in inbox.batches() if path.stem not in failures]
        groups = [*_groups(others), *([batch] for batch in suspects)]
        while groups:
            group = groups.pop(0)
            inbox.begin(group)
            try:
                yield from posted_frames(_records(group), min(rows, _FRAME_ROWS))
            except (*_ELSEWHERE, GeneratorExit):
                inbox.undo(group)
                raise
            except MemoryError:  # it counts as a failure, like a process killed for memory
                raise
            except (Exception, pl.exceptions.PanicException) as error:
                if len(group) > 1:
                    groups += [[batch] for batch in group]
                else:
                    inbox.set_aside(group[0], f"{type(error).__name__}: {error}")
            else:
                inbox.remove(group)


def _groups(batches: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for batch in batches:
        if group and size + batch.stat().st_size > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.stat().st_size
    if group:
        yield group


def _records(batches: Sequence[Path]) -> Iterator[Record]:
    return chain.from_iterable(posted_records(io.BytesIO(batch.read_bytes())) for batch in batches)
