"""Tables of snapshots and of what is known about their segments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, UniqueConstraint
from sqlmodel import Field

from segadmin.storage.records.columns import Json, Row, json_column, masked_column, state_column, time_column, utcnow
from segadmin.storage.records.states import SnapshotState


class SegmentSnapshot(Row, table=True):
    """One immutable assignment of every user to a segment."""

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    state: SnapshotState = Field(default=SnapshotState.BUILDING, sa_column=state_column(SnapshotState))
    model_version_id: int = Field(foreign_key="modelversion.id")
    job_id: int = Field(foreign_key="job.id", unique=True)
    previous_id: int | None = None
    as_of: datetime = Field(sa_column=time_column(nullable=False))
    #: Earlier snapshots whose rows hold for the users without rows here, a complete one first; empty: this is complete.
    earlier_parts: list[int] = Field(default_factory=list, sa_column=json_column())
    users: int = 0
    rescored: int = 0
    rescored_by: dict[str, int] = Field(default_factory=dict, sa_column=json_column())  #: cause → users
    carried: int = 0
    moved: int = 0  #: users in another segment than in the previous snapshot
    moved_without_hysteresis: int | None = None  #: who would have moved without it; null: it was not used
    corrected: int = 0  #: users whose segment a person set
    lake_versions: dict[str, int] = Field(default_factory=dict, sa_column=json_column())  #: what it was made from
    everyone_read_at: datetime | None = Field(default=None, sa_column=time_column())  #: as of when
    newest_event: datetime | None = Field(default=None, sa_column=time_column())  #: the time of the newest event in it
    #: Of the events that came in since the snapshot before, see :class:`segadmin.snapshots.freshness.Freshness`.
    freshness: Json = Field(default_factory=dict, sa_column=json_column())
    canary_id: int | None = None  #: the canary whose challenger scored some of the users; null: one model scored all
    #: Each way that probabilities were computed in: engine, precision, agreement with the model in float32, …
    inference: list[dict[str, Any]] = Field(default_factory=list, sa_column=json_column())
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    published_at: datetime | None = Field(default=None, sa_column=time_column())

    @property
    def parts(self) -> list[int]:
        """The snapshots whose rows make it up, see :mod:`segadmin.storage.assignments`."""
        assert self.id is not None
        return [*self.earlier_parts, self.id]


#: The segment name of users about whom too little is known.
NOT_ENOUGH = "not enough known"


class SegmentSummary(Row, table=True):
    """Summary statistics of one segment of one snapshot."""

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id", index=True)
    segment: str
    users: int
    share: float  #: 0 to 1
    confidence: float  #: mean probability of the assigned segment
    distinctive: list[Json] = Field(default_factory=list, sa_column=json_column())  #: category, share, lift
    #: Users by the probability of their segment: below 0.1, below 0.2, … up to 1; empty in rows of older releases.
    probabilities: list[int] = Field(default_factory=list, sa_column=json_column())


#: Equal bins of the probabilities of a segment's users.
PROBABILITY_BINS = 10


class SegmentProfileRow(Row, table=True):
    """The profile of a segment, a ``segadmin.snapshots.segment_profile.SegmentProfile``.

    It also stands for the snapshots after it until the next one is computed.
    """

    __table_args__ = (UniqueConstraint("snapshot_id", "segment"),)

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id")
    segment: str
    profile: Json = Field(default_factory=dict, sa_column=json_column())


#: Most characters of a description of a segment, and of an owner.
MAX_DESCRIPTION, MAX_OWNER = 4_000, 200


class SegmentDescription(Row, table=True):
    """What a segment is for and who is responsible for it: one row for each edit, of which the last one holds."""

    #: Of two edits of the same revision, one fails.
    __table_args__ = (UniqueConstraint("label_set", "segment", "revision"),)

    id: int | None = Field(default=None, primary_key=True)
    label_set: str
    segment: str
    revision: int  #: from 1
    description: str = Field(sa_column=masked_column(nullable=False))
    owner: str = Field(sa_column=masked_column(nullable=False))
    actor: str
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class Current(Row, table=True):
    """A pointer to the current version: ``champion:<label set>`` or ``snapshot:<label set>``.

    Readers use only these pointers; writers change them by compare-and-set.
    """

    name: str = Field(primary_key=True)
    target_id: int


class SnapshotSwitch(Row, table=True):
    """One change of the current snapshot of a label set: a publication, or a promotion or rollback of its model.

    Those of a label set have ascending ids, and each begins with the snapshot that the one before ended with.
    """

    id: int | None = Field(default=None, primary_key=True)
    label_set: str = Field(index=True)
    from_id: int | None = None  #: the snapshot that was current until then; null: there was none
    to_id: int
    changes: int | None = None  #: records of it in the table ``changes`` of the lake; null: not written yet
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


#: The kind of the jobs that stand for the publication of corrections; they have no steps.
CORRECT_KIND = "correct"


#: As how many labelled rows a correction may count, and most characters of its reason.
MAX_WEIGHT, MAX_REASON = 100, 1_000


class Correction(Row, table=True):
    """The segment of a user as a person set it; of those of a user and label set, at most one is in force."""

    __table_args__ = (Index("ix_correction_label_set_user_key", "label_set", "user_key"),)

    id: int | None = Field(default=None, primary_key=True)
    label_set: str
    user_key: int = Field(sa_column=Column(BigInteger(), nullable=False))
    segment: str
    reason: str = Field(sa_column=masked_column(nullable=False))
    actor: str
    weight: int = 1  #: as how many labelled rows of the next training it counts; 0: it only overrides the model
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=time_column())  #: null: never
    withdrawn_at: datetime | None = Field(default=None, sa_column=time_column())
    withdrawn_by: str = ""
    withdrawn_because: str = Field(default="", sa_column=masked_column(nullable=False))


class ConfiguredFeed(Row, table=True):
    """A receiver of the changes of a label set, and its cursor: what it has received."""

    name: str = Field(primary_key=True)
    kind: str  #: the feed plugin
    options: Json = Field(default_factory=dict, sa_column=json_column())  #: of the plugin, without secrets
    label_set: str = Field(index=True)
    sequence: int = 0  #: the :class:`SnapshotSwitch` of the last record that it has received
    position: int = 0  #: of that record
    failures: int = 0  #: since the last batch that it has received
    error: str | None = Field(default=None, sa_column=masked_column())  #: of the last failure
    retry_at: datetime | None = Field(default=None, sa_column=time_column())  #: after a failure: not before
    delivered_at: datetime | None = Field(default=None, sa_column=time_column())
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class DriftReport(Row, table=True):
    """What changed between a snapshot and the first one of its model version, and how good it probably is."""

    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int = Field(foreign_key="segmentsnapshot.id", unique=True)
    reference_id: int | None = None  #: the snapshot that it is compared with; null: later ones are compared with this
    users: int  #: in the sample
    drifted: int = 0  #: number of distributions that drifted
    alarms: list[str] = Field(default_factory=list, sa_column=json_column())  #: sentences: what somebody should look at
    findings: list[Json] = Field(
        default_factory=list, sa_column=json_column()
    )  #: see ``segadmin.monitoring.drift.Finding``
    #: Estimated metrics, see ``segadmin.monitoring.estimate.Estimate``; empty where nothing can be estimated.
    estimate: Json = Field(default_factory=dict, sa_column=json_column())
    unknown: list[str] = Field(default_factory=list, sa_column=json_column())  #: why metrics cannot be estimated
    outcomes: list[Json] = Field(
        default_factory=list, sa_column=json_column()
    )  #: earlier estimates and measured metrics
    volumes: list[Json] = Field(default_factory=list, sa_column=json_column())  #: events of the last days by kind
    profile: Json = Field(default_factory=dict, sa_column=json_column())  #: distribution → histogram of the users
    calibration: Json = Field(default_factory=dict, sa_column=json_column())  #: bins and vocabulary; of references only
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
