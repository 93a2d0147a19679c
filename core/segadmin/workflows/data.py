"""The jobs that change what the lake holds: ``ingest``, ``retain`` and ``compact``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field

from segadmin.contracts.plugins import load_plugins
from segadmin.counts import counted
from segadmin.events.mapping import Mapping
from segadmin.jobs.attempt import Attempt, StageOutput, StageResult
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register
from segadmin.settings import Settings, get_settings
from segadmin.storage.records import utcnow
from segadmin.timezones import UtcMoment
from segadmin.workflows.option_values import Days


def _read_mapping(path: Path) -> Mapping:
    from segadmin.events.saved_mappings import read_mapping

    return read_mapping(get_settings(), path)


class Ingest(Request):
    """Options of ``ingest``."""

    where: Annotated[str, Option(positional=True)] = Field(
        description="A file or URL that the workers can reach, such as redis://…"
    )
    table: Literal["events", "items"] = Field("events", description="What to import.")
    mapping: Annotated[Mapping, Option(metavar="FILE.toml", read=_read_mapping)] = Field(
        Mapping(),
        description="The mapping (columns, kinds, units, rules): a file, or the name of a saved or shipped one.",
    )
    source: Annotated[str | None, Option(default="by suffix or URL")] = Field(
        None, description="Source plugin to read with."
    )
    source_options: Annotated[dict[str, Any], Option("source-option")] = Field({}, description="Option of the source.")

    def completed(self, settings: Settings) -> Self:
        """Return the request, when there is such a source."""
        if self.source is not None:
            load_plugins(settings).find("source", self.source)
        return self


class Retain(Request):
    """Options of ``retain``."""

    keep_days: Annotated[Days, Option("keep", metavar="400d")] = Field(
        ge=1, description="Delete events older than this."
    )


class Compact(Request):
    """Options of ``compact``: none."""


class IngestOutput(StageOutput):
    """The import's record, as ``data list --json`` shows it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stage: ClassVar[str] = "ingest"

    fresh: bool  #: whether there was anything that was not imported before


class RetainOutput(StageOutput):
    """What was removed."""

    stage: ClassVar[str] = "retain"

    before: UtcMoment
    events: int


class CompactOutput(StageOutput):
    """Of each table where there was something to join, the number of files ``before`` and ``after``."""

    stage: ClassVar[str] = "compact"

    tables: dict[str, dict[str, int]]


def ingest(attempt: Attempt) -> StageResult:
    """Import what the job names: a stream's new events, say. A second attempt goes on where the first one was."""
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.ingest import import_file
    from segadmin.storage.compaction import join_live_events
    from segadmin.storage.store import open_store

    request = Ingest.model_validate(attempt.options)
    wanted = ImportRequest(
        request.table, request.where, request.mapping, source=request.source, options=request.source_options
    )
    record, fresh = import_file(attempt.settings, wanted, lambda rows: attempt.progress(0.5, counted(rows, "row")))
    if fresh and request.table == "events":
        join_live_events(attempt.settings, open_store(attempt.settings).buckets)
    return StageResult(IngestOutput(fresh=fresh, **record.model_dump(mode="json")))


def retain(attempt: Attempt) -> StageResult:
    """Remove the events that are older than the job says."""
    from segadmin.events.erase import remove_older

    before = utcnow() - timedelta(days=Retain.model_validate(attempt.options).keep_days)
    removed = remove_older(attempt.settings, before)
    return StageResult(RetainOutput(before=before.replace(microsecond=0), events=removed))


def compact(attempt: Attempt) -> StageResult:
    """Join the lake's small files."""
    from segadmin.storage.compaction import compact as join_small_files

    return StageResult(CompactOutput(tables=join_small_files(attempt.settings)))


register(
    Workflow(
        "ingest",
        Ingest,
        (Stage("ingest", ingest),),
        "Import on a worker, for schedules: what is new in a stream, or what a query returns now.",
    )
)
register(Workflow("retain", Retain, (Stage("retain", retain),), "Delete events older than a number of days."))
register(
    Workflow("compact", Compact, (Stage("compact", compact),), "Merge the small files that many imports leave behind.")
)
