"""Taking what was posted to ``/v1/events``."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar

import polars as pl

from segadmin.contracts.source import Source
from segadmin.errors import ConfigurationError, StorageError
from segadmin.events.inbox import Inbox
from segadmin.settings import get_settings
from segadmin_plugins.sources.json_records import Record
from segadmin_plugins.sources.jsonl import posted_frames, posted_records

#: Batches are read together up to so many bytes, and in frames of so many rows.
_GROUP_BYTES, _FRAME_ROWS = 2**23, 50_000
#: Errors that are no batch's fault: the disk, the database, the settings.
_ELSEWHERE = (StorageError, ConfigurationError, OSError)
_KILLED = "Reading it ended the process: it was killed, or went over a limit of memory or time."


class Posted(Source):
    """The inbox of the store: ``inbox://``. A batch is removed when it is kept; one that is read twice is told so.

    What is read together fails together. So batches of a read that failed, or whose process was killed, are read again
    one by one, behind the others; one that fails on its own is set aside.
    """

    name: ClassVar[str] = "inbox"
    schemes: ClassVar[tuple[str, ...]] = ("inbox",)
    consumes: ClassVar[bool] = True
    sets_aside: ClassVar[bool] = True

    def identity(self, where: str) -> str:
        """Return what the inbox is known by."""
        return "inbox"

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the batches there are now, those together that are small."""
        settings = get_settings()
        inbox = Inbox.of(settings)
        most = max(1, settings.max_attempts - 1)  # so that the last attempt of a job sets aside what killed the others
        failures = inbox.failures()
        for batch in inbox.batches():
            if failures.get(batch.stem, 0) >= most:
                inbox.set_aside(batch, _KILLED)
        alone = sorted((path for path in inbox.batches() if path.stem in failures), key=lambda one: failures[one.stem])
        together = [path for path in inbox.batches() if path.stem not in failures]
        groups = [*_groups(together), *([batch] for batch in alone)]
        while groups:
            group = groups.pop(0)
            inbox.begin(group)
            try:
                yield from posted_frames(_records(group), min(rows, _FRAME_ROWS))
            except (*_ELSEWHERE, GeneratorExit):
                inbox.undo(group)
                raise
            except MemoryError:  # it counts, as where the process was killed for it
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
