"""What is in the store: label sets, imports and quarantine; schedules, plugins, keys and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from segadmin.storage.records import Scope
from segadmin_api.schemas.jobs import Name

#: Options of a plugin as text, by name.
Options = Annotated[dict[Name, Annotated[str, StringConstraints(max_length=2000)]], Field(max_length=50)]


class Table(BaseModel):
    """A table of the store."""

    table: str
    rows: int
    what: str = Field("", description="More about it, such as the days of its events.")


class Tables(BaseModel):
    """The tables of the store."""

    items: list[Table]


class LabelSet(BaseModel):
    """A named set of labelled users."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    labeler: str
    definition: dict[str, Any]
    segments: list[str]
    rows: int
    created_at: datetime


class LabelSets(BaseModel):
    """All label sets."""

    items: list[LabelSet]


class LabelRequest(BaseModel):
    """How a label set is derived from events."""

    model_config = ConfigDict(extra="forbid")

    labeler: Name = Field("future-spend", description="The labeler plugin.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its options.")


class Import(BaseModel):
    """A file that was imported."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    table: str
    file: str
    sha256: str = Field("", description="Of the file.")
    state: str = Field(description="`running`, `succeeded`, `failed` or `interrupted`.")
    source_rows: int
    rows_read: int
    rows_kept: int
    rows_quarantined: int
    rows_ignored: int
    reasons: dict[str, int] = Field(description="Quarantine reason → rows.")
    changes: dict[str, int] = Field(description="Cleaning rule → values that it fixed.")
    late: dict[str, int] = Field(default_factory=dict, description="Age beside the newest event → rows.")
    mapping: dict[str, Any] = Field(default_factory=dict, description="The mapping of this import.")
    warnings: list[str]
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class QuarantinedRow(BaseModel):
    """A row that could not be imported, unchanged."""

    import_id: int
    line: int
    table: str
    reason: str
    column: str | None
    value: str | None
    row: str = Field(description="The row as JSON.")


class ScheduleRequest(BaseModel):
    """A job that repeats."""

    model_config = ConfigDict(extra="forbid")

    cron: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)] = Field(
        "",
        description="Minute, hour, day of month, month, day of week; or `@every 30s`. Empty: only with an objective.",
        examples=["0 3 * * *"],
    )
    freshness_seconds: float | None = Field(
        None, ge=1, le=86_400, description="Objective: within this time an event is in a snapshot. Refreshes follow."
    )
    timezone: Name = Field("UTC", examples=["Asia/Shanghai"])
    kind: Name = Field(description="The kind of job.", examples=["refresh"])
    options: dict[str, Any] = Field(default_factory=dict, examples=[{"labels": "spend3"}])


class Schedule(BaseModel):
    """A schedule in a list."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    cron: str
    timezone: str
    kind: str
    options: dict[str, Any]
    paused: bool
    next_slot: datetime
    freshness_seconds: float | None = Field(None, description="Objective: within this time an event is in a snapshot.")
    missed_since: datetime | None = Field(None, description="Since when the objective is missed.")
    last_job_id: int | None
    created_at: datetime


class Schedules(BaseModel):
    """All schedules, the next one due first."""

    items: list[Schedule]


class MissedSlots(BaseModel):
    """Slots that passed while no beat ran."""

    model_config = ConfigDict(from_attributes=True)

    first: datetime
    last: datetime
    slots: int
    job_id: int | None
    id: int | None = None
    created_at: datetime | None = None


class ScheduledJob(BaseModel):
    """A job of one slot."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    kind: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    state: str
    priority: int = 5
    idempotency_key: str | None = None
    error: str | None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Objective(BaseModel):
    """How far a freshness objective is met; all times in seconds."""

    model_config = ConfigDict(from_attributes=True)

    schedule: str
    label_set: str
    objective: float
    snapshot_id: int | None = Field(description="The last snapshot that is measured.")
    p50: float | None = Field(description="Of its events, from event to publication.")
    p95: float | None
    late: int
    ahead: int
    newest_event: datetime | None
    waiting: float = Field(description="For so long an event waits that is in no snapshot.")
    cause: str = Field(description="Why it is missed, probably.")
    fix: str = Field(description="The command that helps.")


class ScheduleDetails(Schedule):
    """A schedule, and what came of it."""

    upcoming: list[datetime]
    jobs: list[ScheduledJob] = Field(description="Of its latest slots, newest first.")
    missed: list[MissedSlots]
    freshness: list[Objective] = Field(default_factory=list, description="How far the objective is met.")


class Plugin(BaseModel):
    """A registered plugin."""

    kind: str
    name: str
    distribution: str = Field(description="What it comes from.")


class Plugins(BaseModel):
    """The registered plugins, and those that could not be loaded."""

    items: list[Plugin]
    broken: list[str] = Field(description="What could not be loaded, and why.")


class PluginOption(BaseModel):
    """An option of a plugin."""

    name: str
    type: str = Field(description="What values it takes, in words, such as `whole number ≥ 0`.")
    default: str | None = Field(description="As it is written; empty if there is none, `null` if it is required.")
    typed_default: Any = Field("(required)", description="Its value, where JSON has one.")


class PluginDetails(Plugin):
    """A plugin with its description and options."""

    doc: str
    options: list[PluginOption]
    templates: dict[str, Any] | None = Field(None, description="Of a textualizer: what `--templates` can replace.")


class PluginCheckRequest(BaseModel):
    """With which options a plugin is checked."""

    model_config = ConfigDict(extra="forbid")

    options: Options = Field(default_factory=dict, description="Those of the plugin, as text.")


class PluginCheck(BaseModel):
    """Whether a plugin keeps its contract."""

    passed: bool
    report: str = Field(description="What the tests compared, or which of them failed.")


class Backbone(Plugin):
    """A registered backbone."""

    default_for: list[str] = Field(description="The languages whose texts it reads where none is named.")
    problem: str | None = Field(None, description="Why it cannot be used on the machine of the server, if so.")


class PretrainedModel(BaseModel):
    """A pretrained model on the machine of the server."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    where: str = Field(description="Its folder.")
    size: int = Field(description="Bytes.")
    usable: bool = Field(description="Whether it has safetensors, the only format that is loaded.")


class Backbones(BaseModel):
    """The registered backbones, and the pretrained models."""

    items: list[Backbone]
    models: list[PretrainedModel] = []


class BackboneCheckRequest(BaseModel):
    """A backbone to check."""

    model_config = ConfigDict(extra="forbid")

    model: Name = Field(description="A registered name, a Hugging Face id, or a folder of the server's machine.")
    options: Options = Field(default_factory=dict, description="Those of the backbone, as text.")


class BackboneCheck(BaseModel):
    """A backbone that can be used on the machine of the server."""

    backbone: str
    model: str | None = Field(description="Of the backbone `hf`.")
    folder: str = Field(description="Of the model; empty: it has none.")
    compared: int = Field(description="Files that are as they were pulled.")
    notes: list[str] = Field(description="What a trial fit shows.")


class Setting(BaseModel):
    """A setting of the server."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    variable: str
    value: str = Field(description="As text; `***`: a secret that is set.")
    source: str = Field(description="`default`, `environment`, or `program`: the command that started the server.")
    description: str


class ServerSettings(BaseModel):
    """All settings of the server."""

    items: list[Setting]


class Finding(BaseModel):
    """What a check of the installation found."""

    level: str = Field(description="`ok`, `warn` or `fail`.")
    what: str
    detail: str
    fix: str = Field(description="The command or setting that fixes it.")


class Findings(BaseModel):
    """What `segadmin doctor` found on the machine of the server."""

    items: list[Finding]


class Message(BaseModel):
    """A message from the broker that segadmin did not send; it was never run."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    queue: str
    reason: str = Field(description="Why it is none of segadmin's.")
    message: str = Field(description="Its beginning.")
    size: int = Field(description="Bytes.")
    worker: str
    created_at: datetime


class Messages(BaseModel):
    """The newest messages that were set aside, newest first."""

    items: list[Message]


class AuditEntry(BaseModel):
    """Who did what to whom."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    actor: str = Field(examples=["key shop"])
    action: str = Field(examples=["models.promote"])
    subject: str = Field(examples=["model 3"])
    details: dict[str, Any] = Field(description="Of changes with `before` and `after`.")
    created_at: datetime


class Key(BaseModel):
    """A key; what it is itself is not stored."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    opens: Scope = Field(description="Its role, or what it gives access to.")
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None = Field(description="To the day.")


class Keys(BaseModel):
    """All keys, oldest first."""

    items: list[Key]


class KeyRequest(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: Scope = Field(Scope.VIEWER, description="Its role, or what it gives access to.")
    expires_at: AwareDatetime | None = Field(None, description="When it expires, with a time zone; `null`: never.")


class NewKey(Key):
    """A key that was made."""

    key: str = Field(description="The key itself; it cannot be shown again.")


class Whoami(BaseModel):
    """The key of this request."""

    name: str
    opens: Scope
    scopes: list[Scope] = Field(description="All that it gives access to.")
    csrf_token: str | None = Field(description="Of a session: what changes send in the header `X-CSRF-Token`.")
    expires_at: datetime | None
