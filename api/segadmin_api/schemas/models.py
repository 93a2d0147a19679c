"""Model versions, their metrics, and changes of the champion."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from segadmin.storage.records import ModelState
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
    sha256: str
    job_id: int
    created_at: datetime
    promoted_at: datetime | None
    evaluations: list[Evaluation]


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
