"""The SQL tables: the source of truth, from which files, messages and Delta tables follow."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Enum,
    Index,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from segadmin.urls import mask_secrets

Json = dict[str, Any]


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware and in UTC on both sides, also on SQLite, which has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive datetime is a programming error."""
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
    """Text that may quote a URL. Passwords are masked on write and on read, because older releases stored them."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask on write."""
        return None if value is None else mask_secrets(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask on read."""
        return None if value is None else mask_secrets(value)


class _ImportStateText(TypeDecorator[StrEnum]):
    """The state of an import, in a column of unlimited text that is older than the columns of other states."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write the value."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read the state."""
        return None if value is None else ImportState(value)


def utcnow() -> datetime:
    """Return this machine's time in UTC; leases use :func:`segadmin.storage.database.now` instead."""
    return datetime.now(UTC)


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"  #: saved; no step has started
    RUNNING = "running"  #: a step has started
    SUCCEEDED = "succeeded"  #: every step succeeded or was skipped, but for those of stages that may fail
    FAILED = "failed"  #: a step has no attempts left, or failed permanently
    CANCELLED = "cancelled"  #: somebody cancelled it

    @property
    def over(self) -> bool:
        """Whether the state is final unless the job is retried."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class StepState(StrEnum):
    """The state of a step."""

    WAITING = "waiting"  #: earlier stages are not done
    READY = "ready"  #: can be claimed after ``not_before``
    RUNNING = "running"  #: claimed by the worker with ``token`` until ``lease_until``
    SUCCEEDED = "succeeded"  #: its ``result`` is valid
    FAILED = "failed"  #: no attempt is left, or the error is permanent
    CANCELLED = "cancelled"  #: its job was cancelled or failed before it finished
    SKIPPED = "skipped"  #: an earlier step decided that it is not needed

    @property
    def done(self) -> bool:
        """Whether later steps may start."""
        return self in {StepState.SUCCEEDED, StepState.SKIPPED}


class ModelState(StrEnum):
    """The role of a model version for its label set."""

    PRETRAINED = "pretrained"  #: trained on unlabelled texts only; a starting point for fine-tuning
    CANDIDATE = "candidate"  #: trained, not yet compared by the gate
    CHAMPION = "champion"  #: scores users
    CHALLENGER = "challenger"  #: kept for comparison; the gate did not promote it
    RETIRED = "retired"  #: was champion before


class CanaryState(StrEnum):
    """The state of a canary."""

    RUNNING = "running"  #: the challenger scores its share of the users
    PROMOTED = "promoted"  #: the challenger became champion
    STOPPED = "stopped"  #: the champion scores these users again


class ImportState(StrEnum):
    """The state of an import."""

    RUNNING = "running"  #: or interrupted if no process is importing, see :mod:`segadmin.events.interrupted`
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class SnapshotState(StrEnum):
    """Whether a snapshot may be read."""

    BUILDING = "building"  #: its assignments may be incomplete
    PUBLISHED = "published"  #: complete and immutable


class MergeState(StrEnum):
    """How far a merge of two users is."""

    MERGING = "merging"  #: or interrupted; the next import, merge, erasure or job completes it
    MERGED = "merged"
    UNDOING = "undoing"  #: or interrupted; completed like a merge
    UNDONE = "undone"


def _time(*, nullable: bool = True) -> Any:
    return Column(UtcDateTime(), nullable=nullable)


def _masked(*, nullable: bool = True) -> Any:
    return Column(MaskedText(), nullable=nullable)


def _json() -> Any:
    return Column(JSON, nullable=False)


def _state(states: type[StrEnum]) -> Any:
    values = Enum(states, native_enum=False, length=16, values_callable=lambda enum: [member.value for member in enum])
    return Column(values, nullable=False)


class _Row(SQLModel):
    """A row of a table. pydantic's validators, which no table uses, are not built: it takes longer than the rest."""

    model_config = {"defer_build": True}


class Store(_Row, table=True):
    """The constants of the store, written at the first import; one row."""

    id: int = Field(default=1, primary_key=True)
    buckets: int
    key_fingerprint: str  #: first 16 hex digits of the HMAC of a constant under the user-key secret
    store_id: str | None = None  #: also in the folder; a store from before revision 0011 gets it when it is opened
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Import(_Row, table=True):
    """One file imported into the lake."""

    id: int | None = Field(default=None, primary_key=True)
    table: str  #: events, items or labels
    file: str = Field(sa_column=_masked(nullable=False))  #: base name, or URL
    sha256: str = Field(index=True)
    state: ImportState = Field(default=ImportState.RUNNING, sa_column=Column(_ImportStateText(), nullable=False))
    source_rows: int = 0  #: rows of the source
    rows_read: int = 0  #: events, items or labels; more than ``source_rows`` if a row holds several
    rows_kept: int = 0
    rows_quarantined: int = 0
    rows_ignored: int = 0  #: of kinds that the mapping ignores: read = kept + quarantined + ignored
    reasons: Json = Field(default_factory=dict, sa_column=_json())  #: quarantine reason → rows
    changes: Json = Field(default_factory=dict, sa_column=_json())  #: cleaning rule → values that it fixed
    late: Json = Field(default_factory=dict, sa_column=_json())  #: age relative to the newest event → rows
    warnings: list[str] = Field(default_factory=list, sa_column=_json())  #: about doubtful data
    mapping: Json = Field(default_factory=dict, sa_column=_json())  #: the mapping of this import; empty in old imports
    error: str | None = Field(default=None, sa_column=_masked())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=_time())

    @property
    def is_running(self) -> bool:
        """Whether it has not ended: a process is importing, or was killed during the import."""
        return self.state == ImportState.RUNNING


class SavedMapping(_Row, table=True):
    """A mapping of columns that was saved under a name."""

    name: str = Field(primary_key=True)
    text: str  #: in TOML
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    updated_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Scope(StrEnum):
    """What a key gives access to: one thing, or all that a role may do."""

    EVENTS = "events"  #: sending events
    PAGES = "pages"  #: viewing jobs and models in a browser
    SEGMENTS = "segments"  #: scoring users and looking up their segments
    VIEWER = "viewer"  #: role: reading everything except what only admins may read
    ANALYST = "analyst"  #: role: also users' own ids, texts and quarantined rows
    OPERATOR = "operator"  #: role: also jobs, schedules, label sets, uploads, merges, and which model is champion
    ADMIN = "admin"  #: role: everything, also sending events, keys, the audit log and erasure

    @property
    def includes(self) -> frozenset[Scope]:
        """The scopes that a key of this scope gives access to."""
        return frozenset({self, *_INCLUDED.get(self, ())})


_READS = (Scope.PAGES, Scope.SEGMENTS, Scope.VIEWER)
#: Role → the scopes below it.
_INCLUDED = {
    Scope.VIEWER: _READS,
    Scope.ANALYST: _READS,
    Scope.OPERATOR: (*_READS, Scope.ANALYST),
    Scope.ADMIN: (*_READS, Scope.ANALYST, Scope.OPERATOR, Scope.EVENTS),
}
#: The scopes that are roles, each with the rights of those before it.
ROLES = (Scope.VIEWER, Scope.ANALYST, Scope.OPERATOR, Scope.ADMIN)


class ApiKey(_Row, table=True):
    """A key of the HTTP API."""

    name: str = Field(primary_key=True)
    sha256: str = Field(unique=True)  #: of the key, which is not stored
    opens: Scope = Field(default=Scope.EVENTS, sa_column=_state(Scope))
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    last_used: datetime | None = Field(default=None, sa_column=_time())  #: to the day
    expires_at: datetime | None = Field(default=None, sa_column=_time())  #: refused from then on; null: never

    @property
    def has_expired(self) -> bool:
        """Whether it is refused because of its age."""
        return self.expires_at is not None and self.expires_at <= utcnow()


class Audit(_Row, table=True):
    """An action on users' data or on the models used for them; entries are never changed."""

    id: int | None = Field(default=None, primary_key=True)
    actor: str
    action: str = Field(index=True)
    subject: str
    details: Json = Field(default_factory=dict, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class UserMerge(_Row, table=True):
    """A user who was merged into another one, as a visitor becomes a customer."""

    id: int | None = Field(default=None, primary_key=True)
    old_key: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))  #: the user who was merged
    new_key: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))  #: the user to merge into
    state: MergeState = Field(default=MergeState.MERGING, sa_column=_state(MergeState))
    #: Rows that moved, ``events`` and ``labels``, and ``duplicates``, which are kept aside as the other user has them.
    moved: dict[str, int] = Field(default_factory=dict, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    undone_at: datetime | None = Field(default=None, sa_column=_time())


class LabelSet(_Row, table=True):
    """A named set of labelled users; the rows are in the lake."""

    name: str = Field(primary_key=True)
    labeler: str
    definition: Json = Field(default_factory=dict, sa_column=_json())
    segments: list[str] = Field(default_factory=list, sa_column=_json())  #: in their fixed order
    rows: int = 0
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Job(_Row, table=True):
    """A unit of work that somebody requested."""

    __table_args__ = (Index("ix_job_kind_state", "kind", "state", "id"), Index("ix_job_state", "state", "id"))

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    options: Json = Field(default_factory=dict, sa_column=_json())
    state: JobState = Field(default=JobState.QUEUED, sa_column=_state(JobState))
    priority: int = 5  #: 0 (lowest) to 9 (highest)
    idempotency_key: str | None = Field(default=None, unique=True)
    #: The requested options before defaults were resolved; only if there is an idempotency key.
    asked: Json | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    #: Why it failed; of a job that goes on or succeeded: which of the stages that may fail did, and why.
    error: str | None = Field(default=None, sa_column=_masked())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=_time())
    finished_at: datetime | None = Field(default=None, sa_column=_time())

    @property
    def has_warning(self) -> bool:
        """Whether it succeeded although one of its stages failed."""
        return self.state == JobState.SUCCEEDED and self.error is not None


class Step(_Row, table=True):
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
    after: list[str] = Field(default_factory=list, sa_column=_json())  #: stages whose steps must be done first
    bucket_from: int = -1  #: -1: the stage is not divided by buckets
    bucket_to: int = -1
    state: StepState = Field(default=StepState.WAITING, sa_column=_state(StepState))
    attempt: int = 0
    max_attempts: int = 3
    token: int = 0  #: fencing token: increased by every claim and whenever the step is taken away
    worker: str | None = None
    lease_until: datetime | None = Field(default=None, sa_column=_time())
    not_before: datetime | None = Field(default=None, sa_column=_time())
    rung_at: datetime | None = Field(default=None, sa_column=_time())  #: when it was last rung for; null: not yet
    progress: float = 0.0  #: 0 to 1: the furthest that an attempt came
    note: str = ""  #: what it is doing, in a few words
    calling: str = ""  #: the plugin method that runs now, so that a sudden death can be blamed on it
    result: Json = Field(default_factory=dict, sa_column=_json())
    curve: list[list[Any]] = Field(default_factory=list, sa_column=_json())  #: see ``segadmin.learning_curve``
    error: str | None = Field(default=None, sa_column=_masked())
    #: The most memory that the process of the last attempt took, in bytes; null: not measured yet.
    memory_bytes: int | None = Field(default=None, sa_column=Column(BigInteger(), nullable=True))
    started_at: datetime | None = Field(default=None, sa_column=_time())
    finished_at: datetime | None = Field(default=None, sa_column=_time())


class ModelVersion(_Row, table=True):
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
    #: When it became champion the last time; ``None``: never, or it was rolled back.
    promoted_at: datetime | None = Field(default=None, sa_column=_time())


class Evaluation(_Row, table=True):
    """The metrics of one model on one split: a model version, or a baseline of the same job."""

    id: int | None = Field(default=None, primary_key=True)
    model_version_id: int | None = Field(default=None, foreign_key="modelversion.id", index=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    name: str  #: the backbone, or the baseline's name
    split: str
    rows: int
    metrics: Json = Field(default_factory=dict, sa_column=_json())
    confusion: list[list[int]] = Field(default_factory=list, sa_column=_json())  #: rows: true segments
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class SegmentSnapshot(_Row, table=True):
    """One immutable assignment of every user to a segment."""

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    state: SnapshotState = Field(default=SnapshotState.BUILDING, sa_column=_state(SnapshotState))
    model_version_id: int = Field(foreign_key="modelversion.id")
    job_id: int = Field(foreign_key="job.id", unique=True)
    previous_id: int | None = None
    as_of: datetime = Field(sa_column=_time(nullable=False))
    #: Earlier snapshots whose rows hold for the users without rows here, a complete one first; empty: this is complete.
    earlier_parts: list[int] = Field(default_factory=list, sa_column=_json())
    users: int = 0
    rescored: int = 0
    rescored_by: dict[str, int] = Field(default_factory=dict, sa_column=_json())  #: cause → users
    carried: int = 0
    moved: int = 0  #: users in another segment than in the previous snapshot
    moved_without_hysteresis: int | None = None  #: who would have moved without it; null: it was not used
    corrected: int = 0  #: users whose segment a person set
    lake_versions: dict[str, int] = Field(default_factory=dict, sa_column=_json())  #: what it was made from
    everyone_read_at: datetime | None = Field(default=None, sa_column=_time())  #: as of when
    newest_event: datetime | None = Field(default=None, sa_column=_time())  #: the time of the newest event in it
    #: Of the events that came in since the snapshot before, see :class:`segadmin.snapshots.freshness.Freshness`.
    freshness: Json = Field(default_factory=dict, sa_column=_json())
    canary_id: int | None = None  #: the canary whose challenger scored some of the users; null: one model scored all
    #: Each way that probabilities were computed in: engine, precision, agreement with the model in float32, …
    inference: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    published_at: datetime | None = Field(default=None, sa_column=_time())

    @property
    def parts(self) -> list[int]:
        """The snapshots whose rows make it up, see :mod:`segadmin.storage.assignments`."""
        assert self.id is not None
        return [*self.earlier_parts, self.id]


#: The segment name of users about whom too little is known.
NOT_ENOUGH = "not enough known"


#: Equal bins of the probabilities of a segment's users.
PROBABILITY_BINS = 10


class SegmentSummary(_Row, table=True):
    """Summary statistics of one segment of one snapshot."""

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id", index=True)
    segment: str
    users: int
    share: float  #: 0 to 1
    confidence: float  #: mean probability of the assigned segment
    distinctive: list[Json] = Field(default_factory=list, sa_column=_json())  #: category, share, lift
    #: Users by the probability of their segment: below 0.1, below 0.2, … up to 1; empty in rows of older releases.
    probabilities: list[int] = Field(default_factory=list, sa_column=_json())


class SegmentProfileRow(_Row, table=True):
    """The profile of a segment, a ``segadmin.snapshots.segment_profile.SegmentProfile``.

    It also stands for the snapshots after it until the next one is computed.
    """

    __table_args__ = (UniqueConstraint("snapshot_id", "segment"),)

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id")
    segment: str
    profile: Json = Field(default_factory=dict, sa_column=_json())


#: Most characters of a description of a segment, and of an owner.
MAX_DESCRIPTION, MAX_OWNER = 4_000, 200


class SegmentDescription(_Row, table=True):
    """What a segment is for and who is responsible for it: one row for each edit, of which the last one holds."""

    #: Of two edits of the same revision, one fails.
    __table_args__ = (UniqueConstraint("label_set", "segment", "revision"),)

    id: int | None = Field(default=None, primary_key=True)
    label_set: str
    segment: str
    revision: int  #: from 1
    description: str = Field(sa_column=_masked(nullable=False))
    owner: str = Field(sa_column=_masked(nullable=False))
    actor: str
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Canary(_Row, table=True):
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
    state: CanaryState = Field(default=CanaryState.RUNNING, sa_column=_state(CanaryState))
    since: datetime = Field(sa_column=_time(nullable=False))  #: in the time of the events
    until: datetime = Field(sa_column=_time(nullable=False))  #: when it is decided, in the time of the events
    #: The newest, see ``segadmin.monitoring.canary.CanaryComparison``; empty before the first.
    comparison: Json = Field(default_factory=dict, sa_column=_json())
    compared_as_of: datetime | None = Field(default=None, sa_column=_time())
    reason: str | None = None  #: why it ended
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=_time())


class DriftReport(_Row, table=True):
    """What changed between a snapshot and the first one of its model version, and how good it probably is."""

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id", unique=True)
    reference_id: int | None = None  #: the snapshot that it is compared with; null: later ones are compared with this
    users: int  #: in the sample
    drifted: int = 0  #: number of distributions that drifted
    alarms: list[str] = Field(default_factory=list, sa_column=_json())  #: sentences: what somebody should look at
    findings: list[Json] = Field(default_factory=list, sa_column=_json())  #: see ``segadmin.monitoring.drift.Finding``
    #: Estimated metrics, see ``segadmin.monitoring.estimate.Estimate``; empty where nothing can be estimated.
    estimate: Json = Field(default_factory=dict, sa_column=_json())
    unknown: list[str] = Field(default_factory=list, sa_column=_json())  #: why metrics cannot be estimated
    outcomes: list[Json] = Field(default_factory=list, sa_column=_json())  #: earlier estimates and measured metrics
    volumes: list[Json] = Field(default_factory=list, sa_column=_json())  #: events of the last days by kind
    profile: Json = Field(default_factory=dict, sa_column=_json())  #: distribution → histogram of the users
    calibration: Json = Field(default_factory=dict, sa_column=_json())  #: bins and vocabulary; of references only
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Current(_Row, table=True):
    """A pointer to the current version: ``champion:<label set>`` or ``snapshot:<label set>``.

    Readers use only these pointers; writers change them by compare-and-set.
    """

    name: str = Field(primary_key=True)
    target_id: int


class SnapshotSwitch(_Row, table=True):
    """One change of the current snapshot of a label set: a publication, or a promotion or rollback of its model.

    Those of a label set have ascending ids, and each begins with the snapshot that the one before ended with.
    """

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    from_id: int | None = None  #: the snapshot that was current until then; null: there was none
    to_id: int
    changes: int | None = None  #: records of it in the table ``changes`` of the lake; null: not written yet
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


#: The kind of the jobs that stand for the publication of corrections; they have no steps.
CORRECT_KIND = "correct"
#: As how many labelled rows a correction may count, and most characters of its reason.
MAX_WEIGHT, MAX_REASON = 100, 1_000


class Correction(_Row, table=True):
    """The segment of a user as a person set it; of those of a user and label set, at most one is in force."""

    __table_args__ = (Index("ix_correction_label_set_user_key", "label_set", "user_key"),)

    id: int | None = Field(default=None, primary_key=True)
    label_set: str
    user_key: int = Field(sa_column=Column(BigInteger(), nullable=False))
    segment: str
    reason: str = Field(sa_column=_masked(nullable=False))
    actor: str
    weight: int = 1  #: as how many labelled rows of the next training it counts; 0: it only overrides the model
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=_time())  #: null: never
    withdrawn_at: datetime | None = Field(default=None, sa_column=_time())
    withdrawn_by: str = ""
    withdrawn_because: str = Field(default="", sa_column=_masked(nullable=False))


class ConfiguredFeed(_Row, table=True):
    """A receiver of the changes of a label set, and its cursor: what it has received."""

    name: str = Field(primary_key=True)
    kind: str  #: the feed plugin
    options: Json = Field(default_factory=dict, sa_column=_json())  #: of the plugin, without secrets
    label_set: str = Field(index=True)
    sequence: int = 0  #: the :class:`SnapshotSwitch` of the last record that it has received
    position: int = 0  #: of that record
    failures: int = 0  #: since the last batch that it has received
    error: str | None = Field(default=None, sa_column=_masked())  #: of the last failure
    retry_at: datetime | None = Field(default=None, sa_column=_time())  #: after a failure: not before
    delivered_at: datetime | None = Field(default=None, sa_column=_time())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Schedule(_Row, table=True):
    """A job that is enqueued at every slot of a cron expression in ``timezone``, or whenever events came in."""

    name: str = Field(primary_key=True)
    cron: str  #: empty: without slots, only an objective
    timezone: str = "UTC"
    kind: str
    options: Json = Field(default_factory=dict, sa_column=_json())
    paused: bool = False
    next_slot: datetime = Field(sa_column=_time(nullable=False))
    last_job_id: int | None = None
    freshness_seconds: float | None = None  #: objective: within this time an event is to be in a snapshot
    missed_since: datetime | None = Field(default=None, sa_column=_time())  #: since when the objective is missed
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class MissedSlots(_Row, table=True):
    """Slots of a schedule that passed while no beat ran; one job replaces all of them."""

    id: int | None = Field(default=None, primary_key=True)
    schedule: str = Field(index=True)
    first: datetime = Field(sa_column=_time(nullable=False))
    last: datetime = Field(sa_column=_time(nullable=False))
    slots: int
    job_id: int | None = None  #: the job that replaces them
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class Lock(_Row, table=True):
    """An exclusive lock of a job, such as on the champion of a label set; deleted on release."""

    name: str = Field(primary_key=True)
    job_id: int = Field(foreign_key="job.id", index=True)
    since: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))


class QuarantinedMessage(_Row, table=True):
    """A broker message that segadmin did not send; it was stored here and nothing was run."""

    id: int | None = Field(default=None, primary_key=True)
    queue: str
    reason: str
    message: str  #: as received, truncated to some thousand characters
    size: int  #: bytes, before truncation
    worker: str  #: the worker that received it
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time(nullable=False))
