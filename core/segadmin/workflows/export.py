"""``export``: writes the users of a snapshot to a file, which the HTTP API sends to whoever asked for it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.jobs.attempt import Attempt, StageOutput, StageResult, StepFile
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import ModelVersion


class Export(Request):
    """Options of ``export``."""

    snapshot: Annotated[int, Option(positional=True)] = Field(ge=1, le=2**31 - 1, description="Number of the snapshot.")
    segment: str | None = Field(None, description="Only users in this segment.")
    min_probability: float = Field(0.0, ge=0, le=1, description="Minimum probability of the user's segment.")
    with_user_ids: bool = Field(False, description="Write the user ids of the shop instead of pseudonyms.")
    file_format: Literal["csv", "jsonl", "parquet"] = Field("csv", description="Format of the file.")
    raw_cells: bool = Field(False, description="CSV: do not escape text that spreadsheets would run as a formula.")

    def completed(self, settings: Settings) -> Self:
        """Return the request, if there is such a snapshot with such a segment."""
        from segadmin.snapshots.read import find_snapshot

        with reading(settings) as session:
            snapshot = find_snapshot(session, str(self.snapshot))
            known = session.get_one(ModelVersion, snapshot.model_version_id).segments
        if self.segment is not None and self.segment not in known:
            raise ConfigurationError(f"There is no segment {self.segment!r}.{did_you_mean(self.segment, known)}")
        return self


class ExportOutput(StageOutput):
    """What was written, and where; it is gone after an erasure of users."""

    stage: ClassVar[str] = "export"

    file: StepFile


def export(attempt: Attempt) -> StageResult:
    """Write the selected users, the most probable first."""
    from segadmin.files import file_digest, put
    from segadmin.snapshots.export import Audience, audience, write
    from segadmin.snapshots.read import find_snapshot

    request, settings = Export.model_validate(attempt.options), attempt.settings
    with reading(settings) as session:
        snapshot = find_snapshot(session, str(request.snapshot))
        segments = session.get_one(ModelVersion, snapshot.model_version_id).segments
    selection = Audience(request.segment, request.min_probability, user_ids=request.with_user_ids)
    draft = attempt.folder / f".draft.{request.file_format}"
    rows = write(settings, audience(settings, snapshot, segments, selection), draft, raw_cells=request.raw_cells)
    attempt.reach("write")
    path = attempt.folder / f"snapshot-{request.snapshot}.{request.file_format}"
    digest = file_digest(draft)
    put(draft, path)
    file = StepFile(path=str(path.relative_to(settings.store_path)), sha256=digest, rows=rows)
    return StageResult(ExportOutput(file=file))


register(
    Workflow(
        "export", Export, (Stage("export", export),), "Write the users of a snapshot and their segments to a file."
    )
)
