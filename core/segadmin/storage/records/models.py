"""Tables of models, how they were evaluated, and which is on trial."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from segadmin.storage.records.columns import Json, Row, json_column, state_column, time_column, utcnow
from segadmin.storage.records.states import CanaryState, ModelState


class ModelVersion(Row, table=True):
    """One trained model: everything needed to use it is in its artifact folder."""

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    state: ModelState = Field(default=ModelState.CANDIDATE, sa_column=state_column(ModelState))
    backbone: str
    textualizer: str
    segments: list[str] = Field(default_factory=list, sa_column=json_column())
    folder: str  #: relative to the store
    sha256: str  #: over the artifact's file digests
    manifest: Json = Field(default_factory=dict, sa_column=json_column())
    job_id: int = Field(foreign_key="job.id", index=True)
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    #: When it became champion the last time; ``None``: never, or it was rolled back.
    promoted_at: datetime | None = Field(default=None, sa_column=time_column())


class Evaluation(Row, table=True):
    """The metrics of one model on one split: a model version, or a baseline of the same job."""

    id: int | None = Field(default=None, primary_key=True)
    model_version_id: int | None = Field(default=None, foreign_key="modelversion.id", index=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    name: str  #: the backbone, or the baseline's name
    split: str
    rows: int
    metrics: Json = Field(default_factory=dict, sa_column=json_column())
    confusion: list[list[int]] = Field(default_factory=list, sa_column=json_column())  #: rows: true segments
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class Canary(Row, table=True):
    """A challenger that scores a share of the users for some time, to be compared with the champion."""

    #: At most one of a label set is running.
    __table_args__ = (
        Index(
            "ix_canary_running",
            "label_set",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    champion_id: int = Field(foreign_key="modelversion.id")
    challenger_id: int = Field(foreign_key="modelversion.id")
    share: float  #: of the users, above 0 and below 1
    salt: int  #: together with a user's key, it decides whether the user is in the share
    state: CanaryState = Field(default=CanaryState.RUNNING, sa_column=state_column(CanaryState))
    since: datetime = Field(sa_column=time_column(nullable=False))  #: in the time of the events
    until: datetime = Field(sa_column=time_column(nullable=False))  #: when it is decided, in the time of the events
    #: The newest, see ``segadmin.monitoring.canary.CanaryComparison``; empty before the first.
    comparison: Json = Field(default_factory=dict, sa_column=json_column())
    compared_as_of: datetime | None = Field(default=None, sa_column=time_column())
    reason: str | None = None  #: why it ended
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=time_column())
