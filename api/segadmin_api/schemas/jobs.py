"""Jobs, their steps, and what is asked of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from segadmin.storage.records import JobState, StepState

#: The number of a row.
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
#: Text without control characters, which databases do not store and logs do not show.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=1000)]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]
#: Most numbers in a filter, and most failures in an answer.
MOST_NUMBERS, MOST_FAILURES = 1000, 1000


class BlockingLock(BaseModel):
    """What keeps a job from going on."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="What another job is changing, such as `model:spend3`.")
    job_id: int = Field(description="The job that holds it.")
    since: datetime


class Job(BaseModel):
    """A job in a list."""

    id: int
    kind: str = Field(examples=["refresh"])
    options: dict[str, Any] = Field(description="As `segadmin enqueue` takes them, completed by the defaults.")
    state: JobState
    priority: int
    idempotency_key: str | None
    error: str | None = Field(description="Why it failed, or which stage of a succeeded job did.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: float = Field(description="0 to 1.")
    seconds_left: int | None = Field(description="Estimated; `null` if it does not run, or cannot be estimated yet.")
    waits_for: BlockingLock | None


class Step(BaseModel):
    """What one worker does: one stage of a job, over one range of buckets."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    stage: str
    queue: str
    bucket_from: int = Field(description="-1: the stage is not divided.")
    bucket_to: int
    state: StepState
    attempt: int
    max_attempts: int
    worker: str | None
    progress: float = Field(description="0 to 1.")
    note: str = Field(description="What it is doing.")
    result: dict[str, Any]
    curve: list[list[Any]] = Field(description="The learning curve, if it trains.")
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None


class JobDetails(Job):
    """A job with its steps."""

    steps: list[Step]


class JobRequest(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    kind: Name = Field(description="The kind of job.", examples=["refresh"])
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Those of `segadmin enqueue`, with `_` for `-`; the schemas of the kinds describe them.",
        examples=[{"labels": "spend3"}],
    )
    priority: int = Field(5, ge=0, le=9, description="0 (lowest) to 9 (highest).")


class Enqueued(BaseModel):
    """A job that was asked for."""

    job: int = Field(description="Its number.")
    kind: str
    created: bool = Field(description="False if the idempotency key was known: this is the job of the first request.")
    dispatched: bool = Field(
        description="False if the broker does not answer: the job is saved, and starts when the broker is back."
    )


class JobFilter(BaseModel):
    """Selects jobs; at least one condition, and jobs must meet all."""

    model_config = ConfigDict(extra="forbid")

    kinds: list[Name] = Field(default_factory=list, max_length=100)
    states: list[JobState] = Field(default_factory=list, max_length=5)
    numbers: list[Number] = Field(default_factory=list, max_length=MOST_NUMBERS, description="Exactly these jobs.")
    first: Number | None = Field(None, description="The lowest number.")
    last: Number | None = Field(None, description="The highest number.")

    @model_validator(mode="after")
    def _is_no_accident(self) -> Self:
        if not self.model_dump(exclude_defaults=True):
            raise ValueError('the filter is empty; to select all, name their states: {"states": ["queued", "running"]}')
        return self


class BulkFailure(BaseModel):
    """A job with which it could not be done."""

    model_config = ConfigDict(from_attributes=True)

    job: int
    reason: str


class BulkAnswer(BaseModel):
    """What became of the selected jobs."""

    done: int = Field(description="Number of jobs with which it was done.")
    failed: int = Field(description="Number of jobs with which it could not be done.")
    failures: list[BulkFailure] = Field(description=f"The first {MOST_FAILURES:,} of those.")


class RetryRequest(BaseModel):
    """How to retry a job."""

    model_config = ConfigDict(extra="forbid")

    from_start: bool = Field(False, description="Also repeat the steps that succeeded.")


class LostOutput(BaseModel):
    """An output that is gone or damaged: its step and those after it run again."""

    model_config = ConfigDict(from_attributes=True)

    stage: str


class Retried(BaseModel):
    """A job that continues."""

    job: Job
    lost: list[LostOutput]
