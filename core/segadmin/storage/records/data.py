"""Tables of what was imported, and of users who are the same person."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column
from sqlmodel import Field

from segadmin.storage.records.columns import (
    ImportStateText,
    Json,
    Row,
    json_column,
    masked_column,
    state_column,
    time_column,
    utcnow,
)
from segadmin.storage.records.states import ImportState, MergeState


class Store(Row, table=True):
    """The constants of the store, written at the first import; one row."""

    id: int = Field(default=1, primary_key=True)
    buckets: int
    key_fingerprint: str  #: first 16 hex digits of the HMAC of a constant under the user-key secret
    store_id: str | None = None  #: also in the folder; a store from before revision 0011 gets it when it is opened
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class Import(Row, table=True):
    """One file imported into the lake."""

    id: int | None = Field(default=None, primary_key=True)
    table: str  #: events, items or labels
    file: str = Field(sa_column=masked_column(nullable=False))  #: base name, or URL
    sha256: str = Field(index=True)
    state: ImportState = Field(default=ImportState.RUNNING, sa_column=Column(ImportStateText(), nullable=False))
    source_rows: int = 0  #: rows of the source
    rows_read: int = 0  #: events, items or labels; more than ``source_rows`` if a row holds several
    rows_kept: int = 0
    rows_quarantined: int = 0
    rows_ignored: int = 0  #: of kinds that the mapping ignores: read = kept + quarantined + ignored
    reasons: Json = Field(default_factory=dict, sa_column=json_column())  #: quarantine reason → rows
    changes: Json = Field(default_factory=dict, sa_column=json_column())  #: cleaning rule → values that it fixed
    late: Json = Field(default_factory=dict, sa_column=json_column())  #: age relative to the newest event → rows
    warnings: list[str] = Field(default_factory=list, sa_column=json_column())  #: about doubtful data
    mapping: Json = Field(
        default_factory=dict, sa_column=json_column()
    )  #: the mapping of this import; empty in old imports
    error: str | None = Field(default=None, sa_column=masked_column())
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    finished_at: datetime | None = Field(default=None, sa_column=time_column())

    @property
    def is_running(self) -> bool:
        """Whether it has not ended: a process is importing, or was killed during the import."""
        return self.state == ImportState.RUNNING


class SavedMapping(Row, table=True):
    """A mapping of columns that was saved under a name."""

    name: str = Field(primary_key=True)
    text: str  #: in TOML
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    updated_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class QuarantinedMessage(Row, table=True):
    """A broker message that segadmin did not send; it was stored here and nothing was run."""

    id: int | None = Field(default=None, primary_key=True)
    queue: str
    reason: str
    message: str  #: as received, truncated to some thousand characters
    size: int  #: bytes, before truncation
    worker: str  #: the worker that received it
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))


class UserMerge(Row, table=True):
    """A user who was merged into another one, as a visitor becomes a customer."""

    id: int | None = Field(default=None, primary_key=True)
    old_key: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))  #: the user who was merged
    new_key: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))  #: the user to merge into
    state: MergeState = Field(default=MergeState.MERGING, sa_column=state_column(MergeState))
    #: Rows that moved, ``events`` and ``labels``, and ``duplicates``, which are kept aside as the other user has them.
    moved: dict[str, int] = Field(default_factory=dict, sa_column=json_column())
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    undone_at: datetime | None = Field(default=None, sa_column=time_column())


class LabelSet(Row, table=True):
    """A named set of labelled users; the rows are in the lake."""

    name: str = Field(primary_key=True)
    labeler: str
    definition: Json = Field(default_factory=dict, sa_column=json_column())
    segments: list[str] = Field(default_factory=list, sa_column=json_column())  #: in their fixed order
    rows: int = 0
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
