"""Model versions, their metrics, and changes of the champion."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from segadmin.storage.records import CanaryState, ModelState
from segadmin_api.schemas.jobs import Name, Text
from segadmin_api.schemas.shown import InNotebooks


class Evaluation(BaseModel):
    """The metrics of a version, or of a baseline of its job, on one split."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    split: str
    rows: int
    metrics: dict[str, Any]
    confusion: list[list[int]] = Field(description="Rows: true segments.")
    model_version_id: int | None = Field(description="`null`: of a baseline.")


class ModelVersion(InNotebooks):
    """A model version in a list."""

    id: int
    label_set: str
    state: ModelState
    name: str = Field(description="The pretrained model where one was named, else the backbone.", examples=["minilm"])
    backbone: str
    textualizer: str
    segments: list[str]
    folder: str = Field("", description="In the store.")
    sha256: str
    job_id: int
    created_at: datetime
    promoted_at: datetime | None
    evaluations: list[Evaluation]
    canary: float | None = Field(None, description="The share of the users that it scores as a canary.")


class ModelDetails(ModelVersion):
    """A model version with everything that is known of how it was made."""

    champion: int | None = Field(description="The champion of its label set; the `ETag` stands for it.")
    manifest: dict[str, Any]


class Comparison(BaseModel):
    """Two versions on the test rows that both were tested on."""

    one: int
    other: int
    rows: int
    users: int
    one_auroc: float
    other_auroc: float
    lead: float = Field(description="AUROC of the first minus that of the second.")
    low: float | None = Field(description="Lower bound of its 95 % interval; `null` with too few users.")
    high: float | None
    erased: int = Field(description="Test rows of users who were erased since.")


class Canary(BaseModel):
    """A version that scores a share of the users for some time, to be compared with the champion."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    label_set: str
    champion_id: int
    challenger_id: int
    share: float = Field(description="Of the users, above 0 and below 1.")
    state: CanaryState
    since: datetime = Field(description="In the time of the events.")
    until: datetime = Field(description="When it is decided, in the time of the events.")
    comparison: dict[str, Any] = Field(description="The newest comparison with the champion; empty before the first.")
    compared_as_of: datetime | None
    reason: str | None = Field(description="Why it ended.")
    created_at: datetime
    ended_at: datetime | None


class StopRequest(BaseModel):
    """Why a canary is stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: Text = Field("", description="For the audit log.")


class PromotionRequest(BaseModel):
    """Why a version is promoted."""

    model_config = ConfigDict(extra="forbid")

    reason: Text = Field("", description="For the audit log.")


class RollbackRequest(BaseModel):
    """Which champion is taken back, and why."""

    model_config = ConfigDict(extra="forbid")

    labels: Name | None = Field(None, description="The label set; needed if several have a champion.")
    reason: Text = Field("", description="For the audit log.")


class Promotion(BaseModel):
    """What is current now."""

    model_config = ConfigDict(from_attributes=True)

    label_set: str
    champion: int
    before: int | None
    snapshot: int | None = Field(description="The current snapshot, made by the champion; `null` if it made none.")
    as_of: datetime | None = Field(None, description="Of the snapshot.")
    switch: int | None = Field(None, description="The change of the current snapshot that feeds deliver.")
    canary: CanaryState | None = Field(None, description="How the canary ended that was running.")
    corrected_snapshot: int | None = Field(
        None, description="The snapshot with the corrections of people that is current in its place."
    )
    records: int | None = Field(None, description="Records of the feed; `null`: not written yet.")
    deliveries: list[int] = Field(default_factory=list, description="Jobs that deliver them.")
    trouble: str = Field("", description="What could not be done yet; the next refresh does it.")
