"""``export``: writes the users of a snapshot to a file, which the HTTP API sends to whoever asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.jobs.attempt import Attempt, StageOutput, StageResult, StepFile
from segadmin.jobs.registry import Option, Request, Stage, Workflow, register
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import NOT_ENOUGH, ModelVersion

if TYPE_CHECKING:
    import polars as pl


class Export(Request):
    """Options of ``export``."""

    snapshot: Annotated[int, Option(positional=True)] = Field(ge=1, le=2**31 - 1, description="Number of the snapshot.")
    segment: str | None = Field(None, description="Only users in this segment.")
    min_probability: float = Field(0.0, ge=0, le=1, description="Minimum probability of the user's segment.")
    with_user_ids: bool = Field(False, description="Write the user ids of the shop instead of pseudonyms.")
    file_format: Literal["csv", "jsonl", "parquet"] = Field("csv", description="Format of the file.")
    raw_cells: bool = Field(False, description="CSV: do not escape text that spreadsheets would run as a formula.")
    moved_since: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Only users who moved since this snapshot, with the cause."
    )
    before: str | None = Field(None, description="With moved_since: only from this segment, or `new`.")
    after: str | None = Field(None, description="With moved_since: only to this segment, or `left`.")
    cause: str | None = Field(None, description="With moved_since: only for this cause.")

    def completed(self, settings: Settings) -> Self:
        """Return the request, if there are such snapshots with such segments."""
        from segadmin.snapshots.diff import find_two
        from segadmin.snapshots.read import find_snapshot

        with reading(settings) as session:
            snapshot = find_snapshot(session, str(self.snapshot))
            known = session.get_one(ModelVersion, snapshot.model_version_id).segments
            if self.moved_since is not None:
                find_two(session, str(self.moved_since), str(self.snapshot))
        self._check_cell(known)
        if self.segment is not None and self.segment not in known:
            raise ConfigurationError(f"There is no segment {self.segment!r}.{did_you_mean(self.segment, known)}")
        return self

    def _check_cell(self, known: Sequence[str]) -> None:
        """Check that what selects who moved is complete. The segments of the earlier snapshot are known to the job."""
        cell = {name: getattr(self, name) for name in ("before", "after", "cause")}
        if self.moved_since is None and any(value is not None for value in cell.values()):
            named = next(name for name, value in cell.items() if value is not None)
            raise ConfigurationError(f"{named} selects who moved: name the earlier snapshot, too (moved_since).")
        if self.moved_since is not None and (self.segment is not None or self.min_probability):
            raise ConfigurationError("segment and min_probability are not for users who moved: use before and after.")
        if self.after not in {None, "left", NOT_ENOUGH, *known}:
            raise ConfigurationError(f"There is no segment {self.after!r}.{did_you_mean(self.after or '', known)}")


class ExportOutput(StageOutput):
    """What was written, and where; it is gone after an erasure of users."""

    stage: ClassVar[str] = "export"

    file: StepFile


def export(attempt: Attempt) -> StageResult:
    """Write the selected users, the most probable first, or those who moved."""
    from segadmin.files import file_digest, put
    from segadmin.snapshots.export import write

    request, settings = Export.model_validate(attempt.options), attempt.settings
    draft = attempt.folder / f".draft.{request.file_format}"
    rows = write(settings, _selected(settings, request), draft, raw_cells=request.raw_cells)
    attempt.reach("write")
    numbers = [number for number in (request.moved_since, request.snapshot) if number is not None]
    path = attempt.folder / f"snapshot-{'-'.join(map(str, numbers))}.{request.file_format}"
    digest = file_digest(draft)
    put(draft, path)
    file = StepFile(path=str(path.relative_to(settings.store_path)), sha256=digest, rows=rows)
    return StageResult(ExportOutput(file=file))


def _selected(settings: Settings, request: Export) -> pl.LazyFrame:
    from segadmin.snapshots.diff import diff, find_two
    from segadmin.snapshots.diff_cell import cell_of
    from segadmin.snapshots.export import Audience, audience, with_user
    from segadmin.snapshots.read import find_snapshot

    with reading(settings) as session:
        snapshot = find_snapshot(session, str(request.snapshot))
        segments = session.get_one(ModelVersion, snapshot.model_version_id).segments
        pair = None if request.moved_since is None else find_two(session, str(request.moved_since), str(snapshot.id))
    if pair is None:
        selection = Audience(request.segment, request.min_probability, user_ids=request.with_user_ids)
        return audience(settings, snapshot, segments, selection)
    users = cell_of(diff(settings, *pair), request.before, request.after, request.cause)
    rows = with_user(
        settings, users.cast({"before": str, "after": str, "cause": str}).lazy(), raw=request.with_user_ids
    )
    return rows.select("user", "before", "after", "cause").sort("user")


register(
    Workflow(
        "export", Export, (Stage("export", export),), "Write the users of a snapshot and their segments to a file."
    )
)
