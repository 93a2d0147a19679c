"""The SQL tables. What is here is true; files, messages and Delta tables only follow."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Dialect, Enum, Index, String, TypeDecorator, UniqueConstraint
from sqlmodel import Field, SQLModel

from segadmin.urls import mask_secrets

Json = dict[str, Any]


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware and in UTC on both sides, also on SQLite, which has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive datetime is a mistake of ours, not of a user."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class MaskedText(TypeDecorator[str]):
    """Text for people that may quote a URL: passwords are masked on both sides, also what an older version stored."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Store it masked."""
        return None if value is None else mask_secrets(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Return it masked."""
        return None if value is None else mask_secrets(value)


class _ImportStateText(TypeDecorator[StrEnum]):
    """The state of an import: text of any length, as it was made before the other states."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write the value."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read the state."""
        return None if value is None else ImportState(value)


def utcnow() -> datetime:
    """Return this machine's clock in UTC; leases use :func:`segadmin.storage.database.now` instead."""
    return datetime.now(UTC)


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"  #: saved; no step has started
    RUNNING = "running"  #: a step has started
    SUCCEEDED = "succeeded"  #: every step succeeded or was skipped
    FAILED = "failed"  #: a step used up its attempts, or failed for good
    CANCELLED = "cancelled"  #: somebody cancelled it

    @property
    def over(self) -> bool:
        """Whether nothing more will happen unless somebody retries."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class StepState(StrEnum):
    """Where a step is."""

    WAITING = "waiting"  #: steps that it reads from are not done
    READY = "ready"  #: may be claimed from ``not_before`` on
    RUNNING = "running"  #: claimed; whoever holds ``token`` works on it until ``lease_until``
    SUCCEEDED = "succeeded"  #: its ``result`` counts
    FAILED = "failed"  #: no attempt is left, or the error is permanent
    CANCELLED = "cancelled"  #: its job was cancelled or failed before it finished
    SKIPPED = "skipped"  #: an earlier step decided that it is not needed

    @property
    def done(self) -> bool:
        """Whether steps that come after it may start."""
        return self in {StepState.SUCCEEDED, StepState.SKIPPED}


class ModelState(StrEnum):
    """What a model version is to its label set."""

    PRETRAINED = "pretrained"  #: has read unlabelled texts only; something to start from
    CANDIDATE = "candidate"  #: trained, not yet through the gate
    CHAMPION = "champion"  #: scores users
    CHALLENGER = "challenger"  #: kept for comparison; the gate did not promote it
    RETIRED = "retired"  #: was champion before


class ImportState(StrEnum):
    """Where an import is."""

    RUNNING = "running"  #: or interrupted, where no process is importing: see :mod:`segadmin.events.interrupted`
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class SnapshotState(StrEnum):
    """Whether a snapshot may be read."""

    BUILDING = "building"  #: its assignments may be incomplete
    PUBLISHED = "published"  #: complete and immutable


def _time(*, nullable: bool = True) -> Any:
    return Column(UtcDateTime(), nullable=nullable)


def _masked(*, nullable: bool = True) -> Any:
    return Column(MaskedText(), nullable=nullable)


def _json() -> Any:
    return Column(JSON, nullable=False)


def _state(states: type[StrEnum]) -> Any:
    values = Enum(states, native_enum=False, length=16, values_callable=lambda kind: [one.value for one in kind])
    return Column(values, nullable=False)


class Store(SQLModel, table=True):
    """The lake's fixed facts, written at the first import; one row."""

    id: int = Field(default=1, primary_key=True)
    buckets: int
    key_fingerprint: str  #: first 16 hex digits of the HMAC of a constant under the user-key secret
    store_id: str | None = None  #: what its folder is known by; of a store from before 0011, given when it is opened
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Import(SQLModel, table=True):
    """One file taken into the lake."""

    id: int | None = Field(default=None, primary_key=True)
    table: str  #: events, items or labels
    file: str = Field(sa_column=_masked(nullable=False))  #: base name, or URL
    sha256: str = Field(index=True)
    state: ImportState = Field(default=ImportState.RUNNING, sa_column=Column(_ImportStateText(), nullable=False))
    source_rows: int = 0  #: as the source has them
    rows_read: int = 0  #: events, items or labels: more than ``source_rows`` where a row holds several
    rows_kept: int = 0
    rows_quarantined: int = 0
    rows_ignored: int = 0  #: of kinds that the mapping leaves out: read = kept + quarantined + ignored
    reasons: Json = Field(default_factory=dict, sa_column=_json())  #: quarantine reason → rows
    changes: Json = Field(default_factory=dict, sa_column=_json())  #: rule → values that it mended
    late: Json = Field(default_factory=dict, sa_column=_json())  #: how much older than the newest there was → rows
    warnings: list[str] = Field(default_factory=list, sa_column=_json())  #: what can be read, but is hardly meant
    mapping: Json = Field(default_factory=dict, sa_column=_json())  #: how it was read; empty: it was not kept then
    error: str | None = Field(default=None, sa_column=_masked())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=_time())

    @property
    def is_running(self) -> bool:
        """Whether it has not ended: a process is importing, or was killed while it did."""
        return self.state == ImportState.RUNNING


class Opens(StrEnum):
    """What a key is for: who sends events need not see anything."""

    EVENTS = "events"  #: sending them
    PAGES = "pages"  #: looking at jobs and models


class ApiKey(SQLModel, table=True):
    """Who may use the HTTP API."""

    name: str = Field(primary_key=True)
    sha256: str = Field(unique=True)  #: of the key, which is not kept
    opens: Opens = Field(default=Opens.EVENTS, sa_column=_state(Opens))
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    last_used: datetime | None = Field(default=None, sa_column=_time())  #: the day


class Audit(SQLModel, table=True):
    """Something that somebody did with users' data, or to what is used on them; entries are never changed."""

    id: int | None = Field(default=None, primary_key=True)
    actor: str
    action: str = Field(index=True)
    subject: str
    details: Json = Field(default_factory=dict, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class LabelSet(SQLModel, table=True):
    """A named set of labelled users; the rows are in the lake."""

    name: str = Field(primary_key=True)
    labeler: str
    definition: Json = Field(default_factory=dict, sa_column=_json())
    segments: list[str] = Field(default_factory=list, sa_column=_json())  #: in their fixed order
    rows: int = 0
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Job(SQLModel, table=True):
    """What somebody asked for."""

    __table_args__ = (Index("ix_job_kind_state", "kind", "state", "id"), Index("ix_job_state", "state", "id"))

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    options: Json = Field(default_factory=dict, sa_column=_json())
    state: JobState = Field(default=JobState.QUEUED, sa_column=_state(JobState))
    priority: int = 5  #: 0 (last) to 9 (first)
    idempotency_key: str | None = Field(default=None, unique=True)
    #: The options that were given, before what they leave open was looked up; only where there is a key.
    asked: Json | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    error: str | None = Field(default=None, sa_column=_masked())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=_time())
    finished_at: datetime | None = Field(default=None, sa_column=_time())


class Step(SQLModel, table=True):
    """What one worker does: one stage of a job over the buckets ``bucket_from`` to ``bucket_to``, inclusive."""

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
    after: list[str] = Field(default_factory=list, sa_column=_json())  #: stages whose steps must be done first
    bucket_from: int = -1  #: -1: the stage is not cut by buckets
    bucket_to: int = -1
    state: StepState = Field(default=StepState.WAITING, sa_column=_state(StepState))
    attempt: int = 0
    max_attempts: int = 3
    token: int = 0  #: fencing token: raised by every claim and by everything that takes the step away
    worker: str | None = None
    lease_until: datetime | None = Field(default=None, sa_column=_time())
    not_before: datetime | None = Field(default=None, sa_column=_time())
    rung_at: datetime | None = Field(default=None, sa_column=_time())  #: when it was last rung for; null: not yet
    progress: float = 0.0  #: 0 to 1: the furthest that an attempt came
    note: str = ""  #: what it is doing, in a few words
    calling: str = ""  #: the plugin method that runs now, so that a sudden death can be blamed on it
    result: Json = Field(default_factory=dict, sa_column=_json())
    curve: list[list[Any]] = Field(default_factory=list, sa_column=_json())  #: of its fit: see jobs.curve
    error: str | None = Field(default=None, sa_column=_masked())
    started_at: datetime | None = Field(default=None, sa_column=_time())
    finished_at: datetime | None = Field(default=None, sa_column=_time())


class ModelVersion(SQLModel, table=True):
    """One trained model: everything needed to use it is in its artifact folder."""

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    state: ModelState = Field(default=ModelState.CANDIDATE, sa_column=_state(ModelState))
    backbone: str
    textualizer: str
    segments: list[str] = Field(default_factory=list, sa_column=_json())
    folder: str  #: relative to the store
    sha256: str  #: over the artifact's file digests
    manifest: Json = Field(default_factory=dict, sa_column=_json())
    job_id: int = Field(foreign_key="job.id", index=True)
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    promoted_at: datetime | None = Field(default=None, sa_column=_time())


class Evaluation(SQLModel, table=True):
    """How one model did on one split: a model version, or a baseline beside it."""

    id: int | None = Field(default=None, primary_key=True)
    model_version_id: int | None = Field(default=None, foreign_key="modelversion.id", index=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    name: str  #: the backbone, or the baseline's name
    split: str
    rows: int
    metrics: Json = Field(default_factory=dict, sa_column=_json())
    confusion: list[list[int]] = Field(default_factory=list, sa_column=_json())  #: rows: truth
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class SegmentSnapshot(SQLModel, table=True):
    """One immutable assignment of every user to a segment."""

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    state: SnapshotState = Field(default=SnapshotState.BUILDING, sa_column=_state(SnapshotState))
    model_version_id: int = Field(foreign_key="modelversion.id")
    job_id: int = Field(foreign_key="job.id", unique=True)
    previous_id: int | None = None
    as_of: datetime = Field(sa_column=_time(nullable=False))
    users: int = 0
    rescored: int = 0
    carried: int = 0
    moved: int = 0  #: users in another segment than in the previous snapshot
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    published_at: datetime | None = Field(default=None, sa_column=_time())


#: What the segment of users is called of whom too little is known to be put in one.
NOT_ENOUGH = "not enough known"


class SegmentSummary(SQLModel, table=True):
    """One segment of one snapshot, in numbers for people."""

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id", index=True)
    segment: str
    users: int
    share: float  #: 0 to 1
    confidence: float  #: mean probability of the assigned segment
    distinctive: list[Json] = Field(default_factory=list, sa_column=_json())  #: category, share, lift


class Current(SQLModel, table=True):
    """What is current, by name: ``champion:<label set>`` and ``snapshot:<label set>``.

    Readers look here only, and writers change it only by compare-and-set.
    """

    name: str = Field(primary_key=True)
    target_id: int


class Schedule(SQLModel, table=True):
    """A job enqueued at every slot of a cron expression (UTC unless ``timezone`` says otherwise)."""

    name: str = Field(primary_key=True)
    cron: str
    timezone: str = "UTC"
    kind: str
    options: Json = Field(default_factory=dict, sa_column=_json())
    paused: bool = False
    next_slot: datetime = Field(sa_column=_time(nullable=False))
    last_job_id: int | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class MissedSlots(SQLModel, table=True):
    """Slots of a schedule that came while no beat ran; one job made up for all of them."""

    id: int | None = Field(default=None, primary_key=True)
    schedule: str = Field(index=True)
    first: datetime = Field(sa_column=_time(nullable=False))
    last: datetime = Field(sa_column=_time(nullable=False))
    slots: int
    job_id: int | None = None  #: the job that made up for them
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Lock(SQLModel, table=True):
    """What one job may change alone, such as the champion of a label set; gone when it lets go."""

    name: str = Field(primary_key=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    since: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class QuarantinedMessage(SQLModel, table=True):
    """A message from the broker that is not one of ours; it was set aside and nothing was run."""

    id: int | None = Field(default=None, primary_key=True)
    queue: str
    reason: str
    message: str  #: as it came, cut after some thousand characters
    size: int  #: bytes, before it was cut
    worker: str  #: who received it
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
