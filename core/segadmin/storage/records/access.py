"""Tables of who may do what, and of who did it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field

from segadmin.storage.records.columns import Json, Row, json_column, state_column, time_column, utcnow


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


class ApiKey(Row, table=True):
    """A key of the HTTP API."""

    name: str = Field(primary_key=True)
    sha256: str = Field(unique=True)  #: of the key, which is not stored
    opens: Scope = Field(default=Scope.EVENTS, sa_column=state_column(Scope))
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
    last_used: datetime | None = Field(default=None, sa_column=time_column())  #: to the day
    expires_at: datetime | None = Field(default=None, sa_column=time_column())  #: refused from then on; null: never

    @property
    def has_expired(self) -> bool:
        """Whether it is refused because of its age."""
        return self.expires_at is not None and self.expires_at <= utcnow()


class Audit(Row, table=True):
    """An action on users' data or on the models used for them; entries are never changed."""

    id: int | None = Field(default=None, primary_key=True)
    actor: str
    action: str = Field(index=True)
    subject: str
    details: Json = Field(default_factory=dict, sa_column=json_column())
    created_at: datetime = Field(default_factory=utcnow, sa_column=time_column(nullable=False))
