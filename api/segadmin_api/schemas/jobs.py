"""Jobs, their steps, and what is asked of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from segadmin.jobs.estimate import Likeness
from segadmin.storage.records import JobState, StepState
from segadmin_api.schemas.shown import InNotebooks

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


class Job(InNotebooks):
    """A job in a list."""

    id: int
    kind: str = Field(examples=["refresh"])
    options: dict[str, Any] = Field(description="As `segadmin enqueue` takes them, completed by the defaults.")
    subject: str = Field("", description="What it is about: the model and the labels, the file or the snapshot.")
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
    after: list[str] = Field(default_factory=list, description="Stages whose steps must be done first.")
    bucket_from: int = Field(description="-1: the stage is not divided.")
    bucket_to: int
    state: StepState
    attempt: int
    max_attempts: int
    token: int = Field(0, description="Increased by every claim, and whenever the step is taken from a worker.")
    worker: str | None
    lease_until: datetime | None = Field(None, description="Until when the worker has it, unless it extends that.")
    not_before: datetime | None = Field(None, description="After a failure: when it is tried again.")
    rung_at: datetime | None = Field(None, description="When workers were last told of it.")
    calling: str = Field("", description="The method of a plugin that runs now.")
    progress: float = Field(description="0 to 1.")
    note: str = Field(description="What it is doing.")
    result: dict[str, Any]
    curve: list[list[Any]] = Field(description="The learning curve, if it trains.")
    error: str | None
    memory_bytes: int | None = Field(None, description="The most that its process took; `null`: not measured yet.")
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


class EstimateRequest(BaseModel):
    """What a job would be asked."""

    model_config = ConfigDict(extra="forbid")

    kind: Name = Field(description="The kind of job.", examples=["refresh"])
    options: dict[str, Any] = Field(
        default_factory=dict, description="As of `POST /v1/jobs`.", examples=[{"labels": "spend3"}]
    )


class Spread(BaseModel):
    """What past jobs took."""

    model_config = ConfigDict(from_attributes=True)

    median: float
    low: float
    high: float


class Estimate(BaseModel):
    """What a job will probably cost."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    jobs: tuple[int, ...] = Field(
        description="The past jobs that it is taken from, newest first; empty: there is none."
    )
    likeness: Likeness | None = Field(
        description="What they have in common with this one: its options, its backbone, or only its kind."
    )
    seconds: Spread | None = Field(description="From the start of the first step to the end of the last.")
    memory_bytes: Spread | None = Field(description="Of the largest step; `null`: not measured yet.")
    growth: float | None = Field(
        description="Events now, as a multiple of those then; by it, stages that read all users are scaled."
    )


class LogLine(BaseModel):
    """A line of the log of a step."""

    model_config = ConfigDict(from_attributes=True)

    step: int
    stage: str
    attempt: int
    time: datetime
    level: str = Field(examples=["INFO"])
    logger: str
    message: str
    facts: dict[str, Any] = Field(description="What else the line holds, such as `action` and `seconds`.")
    error: str = Field(description="A traceback, or empty.")


class LogLines(BaseModel):
    """The last lines of a job's log, oldest first."""

    items: list[LogLine]


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
