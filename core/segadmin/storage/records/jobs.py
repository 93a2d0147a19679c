"""Tables of jobs, their steps, and what starts them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint
from sqlmodel import Field

from segadmin.storage.records.columns import Json, Row, json_column, masked_column, state_column, time_column, utcnow
from segadmin.storage.records.states import JobState, StepState


class Job(Row, table=True):
    """A unit of work that somebody requested."""

    __table_args__ = (Index("ix_job_kind_state", "kind", "state", "id"), Index("ix_job_state", "state", "id"))

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    options: Json = Field(default_factory=dict, sa_column=json_column())
    state: JobState = Field(default=JobState.QUEUED, sa_column=state_column(JobState))
    priority: int = 5  #: 0 (lowest) to 9 (highest)
    idempotency_key: str | None = Field(default=None, unique=True)
    #: The requested options before defaults were resolved; only if there is an idempotency key.
    asked: Json | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    #: Why it failed; of a job that goes on or succeeded: which of the stages that may fail did, and why.
    error: str | None = Field(default=None, sa_column=masked_column())
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=time_column())
    finished_at: datetime | None = Field(default=None, sa_column=time_column())

    @property
    def has_warning(self) -> bool:
        """Whether it succeeded although one of its stages failed."""
        return self.state == JobState.SUCCEEDED and self.error is not None


class Step(Row, table=True):
    """The unit of work of one worker: a stage of a job over ``bucket_from`` to ``bucket_to``, inclusive."""

    __table_args__ = (
        UniqueConstraint("job_id", "stage", "bucket_from"),
        Index("ix_step_state_lease", "state", "lease_until"),
        Index("ix_step_state_rung", "state", "rung_at", "queue"),
        Index("ix_step_job_state", "job_id", "state", "stage"),
    )

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id")
    stage: str
    queue: str
    after: list[str] = Field(default_factory=list, sa_column=json_column())  #: stages whose steps must be done first
    bucket_from: int = -1  #: -1: the stage is not divided by buckets
    bucket_to: int = -1
    state: StepState = Field(default=StepState.WAITING, sa_column=state_column(StepState))
    attempt: int = 0
    max_attempts: int = 3
    token: int = 0  #: fencing token: increased by every claim and whenever the step is taken away
    worker: str | None = None
    lease_until: datetime | None = Field(default=None, sa_column=time_column())
    not_before: datetime | None = Field(default=None, sa_column=time_column())
    rung_at: datetime | None = Field(default=None, sa_column=time_column())  #: when it was last rung for; null: not yet
    progress: float = 0.0  #: 0 to 1: the furthest that an attempt came
    note: str = ""  #: what it is doing, in a few words
    calling: str = ""  #: the plugin method that runs now, so that a sudden death can be blamed on it
    result: Json = Field(default_factory=dict, sa_column=json_column())
    curve: list[list[Any]] = Field(default_factory=list, sa_column=json_column())  #: see ``segadmin.learning_curve``
    error: str | None = Field(default=None, sa_column=masked_column())
    #: The most memory that the process of the last attempt took, in bytes; null: not measured yet.
    memory_bytes: int | None = Field(default=None, sa_column=Column(BigInteger(), nullable=True))
    started_at: datetime | None = Field(default=None, sa_column=time_column())
    finished_at: datetime | None = Field(default=None, sa_column=time_column())


class Schedule(Row, table=True):
    """A job that is enqueued at every slot of a cron expression in ``timezone``, or whenever events came in."""

    name: str = Field(primary_key=True)
    cron: str  #: empty: without slots, only an objective
    timezone: str = "UTC"
    kind: str
    options: Json = Field(default_factory=dict, sa_column=json_column())
    paused: bool = False
    next_slot: datetime = Field(sa_column=time_column(nullable=False))
    last_job_id: int | None = None
    freshness_seconds: float | None = None  #: objective: within this time an event is to be in a snapshot
    missed_since: datetime | None = Field(default=None, sa_column=time_column())  #: since when the objective is missed
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class MissedSlots(Row, table=True):
    """Slots of a schedule that passed while no beat ran; one job replaces all of them."""

    id: int | None = Field(default=None, primary_key=True)
    schedule: str = Field(index=True)
    first: datetime = Field(sa_column=time_column(nullable=False))
    last: datetime = Field(sa_column=time_column(nullable=False))
    slots: int
    job_id: int | None = None  #: the job that replaces them
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class Lock(Row, table=True):
    """An exclusive lock of a job, such as on the champion of a label set; deleted on release."""

    name: str = Field(primary_key=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    since: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
