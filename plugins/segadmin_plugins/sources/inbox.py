"""Taking what was posted to ``/v1/events``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import polars as pl

from segadmin.events.inbox import Inbox
from segadmin.events.source import Source
from segadmin.settings import get_settings
from segadmin_plugins.sources.jsonl import frame_of


class Posted(Source):
    """The inbox of the store: ``inbox://``. A batch is removed when it is kept; one that is read twice is told so."""

    name: ClassVar[str] = "inbox"
    schemes: ClassVar[tuple[str, ...]] = ("inbox",)
    consumes: ClassVar[bool] = True

    def identity(self, where: str) -> str:
        """Return what the inbox is known by."""
        return "inbox"

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the batches there are now, as many at a time as have about ``rows`` rows."""
        lines: list[bytes] = []
        read = []
        batches = Inbox.of(get_settings()).batches()
        for place, batch in enumerate(batches, 1):
            lines += batch.read_bytes().splitlines()
            read.append(batch)
            if len(lines) >= rows or place == len(batches):
                yield frame_of(lines)
                for one in read:
                    one.unlink()
                lines, read = [], []
