"""The state of a running import, and its folder of rows that were read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from segadmin.events.import_request import ImportRequest
from segadmin.events.interrupted import FROM_QUEUE, content_name, spool_folder
from segadmin.events.number_columns import NumberColumns
from segadmin.events.spool import Spool
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import


@dataclass
class ImportRun:
    """The state of a running import."""

    settings: Settings
    request: ImportRequest
    record: Import
    lake: Lake
    buckets: int
    consumes: bool
    numbers: NumberColumns
    warnings: list[str] = field(default_factory=list)

    @property
    def app(self) -> str:
        """The name of this import's commits and files.

        It contains the start time, because a restored or new database may assign a number that the lake already has,
        and the digest of a queue never changes.
        """
        started = f"{self.record.created_at:%Y%m%dT%H%M%S}"
        return f"import-{started}-{self.record.id}-{self.record.sha256[:16]}-{self.request.reading}"

    @property
    def is_in_the_lake(self) -> bool:
        """Whether an interrupted run of this import already made its last commit."""
        return self.request.table == "events" and self.lake.last_version("events", self.app) is not None

    @property
    def spool(self) -> Spool:
        """The chunks read so far, which an import of the same content with the same mapping finds again."""
        reading = FROM_QUEUE if self.consumes else self.request.reading
        content = content_name(self.record.sha256, self.request.record_table)
        return Spool(spool_folder(self.settings) / content / reading)

    def clear_other_readings(self) -> None:
        """Remove spools of the same content with other mappings: the record only has the current mapping."""
        for folder in self.spool.folder.parent.glob("*"):
            if folder != self.spool.folder:
                shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove all spools of this content."""
        shutil.rmtree(self.spool.folder.parent, ignore_errors=True)
