"""Snapshots, their segments, who is in them and who moved between them; users; drift."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from segadmin.storage.records import SnapshotState
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.shown import InNotebooks
from segadmin_api.schemas.users import Merge

if TYPE_CHECKING:
    from segadmin.snapshots import diff


class Snapshot(InNotebooks):
    """A published snapshot in a list."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    label_set: str
    current: bool = Field(False, description="Whether it is the current one of its label set.")
    model_version_id: int
    job_id: int
    previous_id: int | None
    state: SnapshotState = SnapshotState.PUBLISHED
    as_of: datetime
    users: int
    rescored: int
    rescored_by: dict[str, int] = Field(description="Cause → users.")
    carried: int
    moved: int
    moved_without_hysteresis: int | None = Field(None, description="Who would have moved without it.")
    corrected: int = Field(0, description="Users whose segment a person set.")
    newest_event: datetime | None = Field(None, description="The time of the newest event in it.")
    freshness: dict[str, Any] = Field(
        default_factory=dict, description="Seconds until events were in a snapshot, of those since the one before."
    )
    canary_id: int | None = Field(None, description="The canary that scored some of the users.")
    inference: list[dict[str, Any]] = Field(
        default_factory=list, description="Each way that probabilities were computed in."
    )
    earlier_parts: list[int] = Field(
        default_factory=list, description="Snapshots whose rows hold for users without rows in this one."
    )
    lake_versions: dict[str, int] = Field(default_factory=dict, description="Table → version it was made from.")
    everyone_read_at: datetime | None = Field(None, description="As of when the events of all users were read.")
    created_at: datetime | None = None
    published_at: datetime | None


class Segment(BaseModel):
    """A segment of a snapshot."""

    model_config = ConfigDict(from_attributes=True)

    segment: str
    users: int
    share: float = Field(description="0 to 1.")
    confidence: float = Field(description="Mean probability of the assigned segment.")
    distinctive: list[dict[str, Any]] = Field(description="Categories that it prefers: `category`, `share`, `lift`.")
    probabilities: list[int] = Field(
        default_factory=list, description="Users by probability: below 0.1, below 0.2, … up to 1."
    )


class SnapshotDetails(Snapshot):
    """A snapshot with its segments."""

    went_back_from: datetime | None = Field(
        None, description="As of when the snapshot before was, if the newest events were removed since."
    )
    segments: list[Segment]


class Movement(BaseModel):
    """Users who moved from one segment to another for the same reason."""

    model_config = ConfigDict(from_attributes=True)

    before: str | None = Field(description="`null`: not in the earlier snapshot.")
    after: str | None = Field(description="`null`: not in the later snapshot.")
    cause: str
    users: int


class Cell(BaseModel):
    """Number of users by segment before and after."""

    before: str | None
    after: str | None
    users: int


class SnapshotDiff(InNotebooks):
    """Who moved between two snapshots, and why."""

    label_set: str
    earlier: int
    later: int
    users_before: int = 0
    users_after: int = 0
    stayed: int
    segments: list[str]
    matrix: list[Cell]
    movements: list[Movement]

    @classmethod
    def of(cls, compared: diff.SnapshotDiff) -> SnapshotDiff:
        """Return a difference of this machine; the cells of its matrix are in the order of the segments."""
        order, matrix = [*compared.segments, None], compared.matrix
        pairs = [(before, after) for before in order for after in order if (before, after) in matrix]
        return cls(
            label_set=compared.later.label_set,
            earlier=compared.earlier.id or 0,
            later=compared.later.id or 0,
            users_before=compared.users_before,
            users_after=compared.users_after,
            stayed=compared.stayed,
            segments=list(compared.segments),
            matrix=[Cell(before=before, after=after, users=matrix[before, after]) for before, after in pairs],
            movements=[Movement.model_validate(movement) for movement in compared.movements],
        )


class Report(BaseModel):
    """What the report of a snapshot holds; nothing in it is about a single user."""

    snapshot: dict[str, Any]
    segments: list[dict[str, Any]]
    trend: dict[str, Any] = Field(description="Users of each segment in this snapshot and those before.")
    movement: list[dict[str, Any]] = Field(
        description="Users by segment before and after; empty: there is none before."
    )
    model: dict[str, Any] = Field(description="The model version, and how often it is right on its test rows.")
    drift: dict[str, Any] | None


class ReportCharts(BaseModel):
    """The charts of the report of a snapshot."""

    snapshot: int
    charts: dict[str, str] = Field(description="Name → SVG.")


class MovedUser(BaseModel):
    """A user behind a cell of a difference."""

    user_key: str = Field(description="The pseudonym, 16 hex digits.")
    before: str | None = Field(description="`null`: not in the earlier snapshot.")
    after: str | None = Field(description="`null`: not in the later snapshot.")
    cause: str | None = Field(description="`null`: stayed.")


class Member(BaseModel):
    """A user of a snapshot."""

    user_key: str = Field(description="The pseudonym, 16 hex digits.", examples=["00c0ffee00c0ffee"])
    user: str | None = Field(None, description="The shop's own id, if it was asked for.")
    segment: str | None = Field(description="`null` if too little is known of the user.")
    probability: float = Field(description="Of the segment.")
    probabilities: dict[str, float] = Field(description="By segment.")
    model_version_id: int
    scored_as_of: datetime | None


class ExportRequest(BaseModel):
    """Which users of a snapshot are written to a file, and how."""

    model_config = ConfigDict(extra="forbid")

    snapshot: int = Field(ge=1, le=2**31 - 1, description="The number of the snapshot.")
    segment: Name | None = Field(None, description="Only users in this segment.")
    min_probability: float = Field(0.0, ge=0, le=1, description="Minimum probability of the segment.")
    with_user_ids: bool = Field(False, description="The shop's own ids instead of pseudonyms.")
    file_format: Literal["csv", "jsonl", "parquet"] = "csv"
    raw_cells: bool = Field(False, description="CSV: do not escape text that spreadsheets would run as a formula.")
    moved_since: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Only users who moved since this snapshot, with the cause."
    )
    before: Name | None = Field(None, description="With `moved_since`: only from this segment, or `new`.")
    after: Name | None = Field(None, description="With `moved_since`: only to this segment, or `left`.")
    cause: Name | None = Field(None, description="With `moved_since`: only for this cause.")


class Assigned(BaseModel):
    """The segment of a user in one snapshot."""

    model_config = ConfigDict(from_attributes=True)

    snapshot_id: int
    label_set: str
    current: bool
    as_of: datetime
    model_version_id: int
    segment: str
    probabilities: dict[str, float]
    overridden_by: str | None = Field(None, description="What decided instead of the model, such as `correction`.")
    model_segment: str | None = Field(None, description="The segment by the model, if something else decided.")


class User(BaseModel):
    """A user with the segments of all snapshots, newest first."""

    user_key: str
    history: list[Assigned]
    merged: list[Merge] = Field(default_factory=list, description="Users who were merged into this one.")


class UserText(BaseModel):
    """The text that a model reads of a user."""

    user_key: str
    label_set: str
    model_version_id: int
    phrases: list[str] = Field(description="The most informative first.")


class Erased(BaseModel):
    """What was erased of a user."""

    model_config = ConfigDict(from_attributes=True)

    user_key: str
    rows: dict[str, int] = Field(description="Table → rows.")
    model_versions: list[int] = Field(description="Versions that were trained on the user, and cannot unlearn.")
    merged: list[str] = Field(default_factory=list, description="Users who were merged, and were erased with the user.")
    similar: list[str] = Field(description="Similar ids of users who were not erased.")


class DriftLine(BaseModel):
    """A drift report in a list."""

    model_config = ConfigDict(from_attributes=True)

    snapshot_id: int
    reference_id: int | None = Field(description="The snapshot that it is compared with; `null`: it is a reference.")
    label_set: str
    model_version_id: int = 0
    as_of: datetime
    users: int = Field(description="In the sample.")
    distributions: int = Field(0, description="Number of distributions that were compared.")
    drifted: int = Field(description="Number of distributions that drifted.")
    alarms: list[str]
    unknown: list[str] = Field(default_factory=list, description="Why metrics cannot be estimated.")
    metrics: dict[str, Any] = Field(description="Estimated metrics, with 95 % intervals.")


class DriftReport(DriftLine):
    """What changed between a snapshot and the first one of its model version."""

    findings: list[dict[str, Any]]
    estimate: dict[str, Any]
    volumes: list[dict[str, Any]] = Field(description="Events of the last days by kind.")
    outcomes: list[dict[str, Any]] = Field(default_factory=list, description="Earlier estimates and measured metrics.")
    measured: list[dict[str, Any]] = Field(description="Estimates beside the outcomes that are known by now.")
    profile: dict[str, Any] = Field(default_factory=dict, description="Distribution → histogram of the users.")
    calibration: dict[str, Any] = Field(default_factory=dict, description="Of references: bins and vocabulary.")
    created_at: datetime | None = None
