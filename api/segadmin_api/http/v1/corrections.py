"""Corrections of users' segments and pins; the review list; and the events of a user."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request

from segadmin.events.keys import show_key
from segadmin.events.timeline import list_events
from segadmin.labels.corrections import holds
from segadmin.snapshots import corrections as core
from segadmin.snapshots.export import with_user
from segadmin.snapshots.read import find_snapshot
from segadmin.snapshots.review import review as users_to_review
from segadmin.storage import records
from segadmin.storage.audit import record
from segadmin.storage.database import now, reading
from segadmin.storage.records import MAX_REASON, Scope
from segadmin.storage.schema import microseconds
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.http.v1.users import UserId, find
from segadmin_api.schemas.jobs import Name
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.users import (
    Corrected,
    Correction,
    CorrectionRequest,
    Event,
    PinRequest,
    Review,
    UserToReview,
)

users = router("/users", "users")
corrections = router("/corrections", "users")
review = router("/review", "users")
Labels = Annotated[Name | None, Query(description="The label set; needed if several have a snapshot.")]
Reason = Annotated[str, Query(min_length=1, max_length=MAX_REASON, description="Why it ends.")]


@users.get("/{user:path}/events", dependencies=[allow(Scope.ANALYST)])
def show_events(request: Request, user: UserId, pages: Pages) -> Page[Event]:
    """List the events of a user, newest first."""
    settings, position = settings_of(request), pages.after(int, int)
    key = find(settings, user, "events")
    after = None if position is None else (position[0], position[1])
    events = list_events(settings, key, pages.limit + 1, after=after)
    return pages.page(events, Event.model_validate, lambda event: [microseconds(event.at), event.event_id])


@users.get("/{user:path}/corrections", dependencies=[allow(Scope.ANALYST)])
def list_corrections_of(request: Request, user: UserId) -> list[Correction]:
    """List all corrections of a user, newest first."""
    settings = settings_of(request)
    key = find(settings, user, "corrections")
    with reading(settings) as session:
        moment = now(session)
        return [shown(row, moment) for row in core.corrections_of(session, key)]


@users.post("/{user:path}/corrections", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=changes())
def correct_user(request: Request, user: UserId, wanted: CorrectionRequest) -> Corrected:
    """Put a user in a segment at once, whatever the model says; an earlier correction is replaced."""
    ends = wanted.expires_at
    if ends is not None:
        ends = ends.replace(tzinfo=UTC) if ends.tzinfo is None else ends.astimezone(UTC)
    settings = settings_of(request)
    key = show_key(find(settings, user, "correction"))
    with request_errors(in_body=True):
        done = core.correct(
            settings, key, wanted.segment, wanted.reason, label_set=wanted.labels, expires_at=ends, weight=wanted.weight
        )
    return _done(done)


@users.delete("/{user:path}/corrections", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def withdraw_correction(request: Request, user: UserId, reason: Reason, labels: Labels = None) -> Corrected:
    """End the correction or the pin of a user, who returns to the segment by the model at once."""
    settings = settings_of(request)
    key = show_key(find(settings, user, "correction"))
    return _done(core.withdraw(settings, key, reason, label_set=labels))


@users.post("/{user:path}/pins", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=changes())
def pin_user(request: Request, user: UserId, wanted: PinRequest) -> Corrected:
    """Keep a user in a segment: a correction that never expires and that no model is trained on."""
    settings = settings_of(request)
    key = show_key(find(settings, user, "correction"))
    with request_errors(in_body=True):
        done = core.pin(settings, key, wanted.reason, segment=wanted.segment, label_set=wanted.labels)
    return _done(done)


@corrections.get("", dependencies=[allow(Scope.ANALYST)])
def list_corrections(
    request: Request,
    pages: Pages,
    labels: Annotated[Name | None, Query(description="Only of this label set.")] = None,
    *,
    everything: Annotated[bool, Query(alias="all", description="Also those that expired or were withdrawn.")] = False,
) -> Page[Correction]:
    """List the corrections and pins that are in force, newest first."""
    settings, position = settings_of(request), pages.after(int)
    if position is None:
        record(settings, "users.corrections", "all label sets" if labels is None else f"labels {labels}")
    before = None if position is None else position[0]
    with reading(settings) as session:
        moment = now(session)
        rows = core.list_corrections(session, labels, pages.limit + 1, before=before, over=everything)
    return pages.page(rows, lambda row: shown(row, moment), lambda row: [row.id])


@review.get("", dependencies=[allow(Scope.ANALYST)])
def list_review(
    request: Request,
    labels: Labels = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Most users.")] = 20,
    *,
    ignore_value: Annotated[bool, Query(description="By uncertainty alone: all users are worth the same.")] = False,
    user_ids: Annotated[bool, Query(description="With the shop's own ids.")] = False,
) -> Review:
    """List whom it pays most to look at and to correct: the model is unsure, and they spend much."""
    settings = settings_of(request)
    with reading(settings) as session:
        snapshot = find_snapshot(session, "current", labels)
    users = users_to_review(settings, snapshot, limit, by_value=not ignore_value)
    rows = users.to_dicts()
    ids = with_user(settings, users.lazy(), raw=True).collect()["user"] if user_ids else [None] * len(rows)
    record(settings, "users.review", f"snapshot {snapshot.id}", rows=len(rows), user_ids=user_ids)
    items = [
        UserToReview(**row | {"user_key": show_key(row["user_key"])}, user=user)
        for row, user in zip(rows, ids, strict=True)
    ]
    return Review(label_set=snapshot.label_set, snapshot=snapshot.id or 0, items=items)


def shown(row: records.Correction, moment: datetime) -> Correction:
    """Return a correction as answers have it."""
    facts = row.model_dump(exclude={"user_key"})
    return Correction(**facts, user_key=show_key(row.user_key), in_force=holds(row, moment))


def _done(done: core.Corrected) -> Corrected:
    row = done.correction
    return Corrected(
        correction=shown(row, row.withdrawn_at or row.created_at),
        before=done.before,
        snapshot=done.snapshot_id,
        replaced=done.replaced,
        job=done.job_id,
    )
