"""Erasure of users from SQL texts, and what must end before an erasure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
from sqlalchemy import true
from sqlmodel import Session, col, delete, select

from segadmin.errors import JobError
from segadmin.events.keys import show_key
from segadmin.events.named_users import ERASED, NamedUsers
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import (
    Audit,
    Correction,
    Import,
    Job,
    JobState,
    LabelSet,
    QuarantinedMessage,
    SavedMapping,
    Schedule,
    SegmentDescription,
    Step,
    UserMerge,
)

#: Columns that may name users: texts, and JSON with texts and mappings.
_TEXTS: tuple[Any, ...] = (
    *(Import.file, Import.error, Job.error, Step.error, Step.note, QuarantinedMessage.message),
    *(Correction.reason, Correction.withdrawn_because, SavedMapping.text),
    *(SegmentDescription.description, SegmentDescription.owner),
)
#: Kinds of jobs that are asked to import something.
_IMPORTS = ("ingest", "import-upload")
_JSON: tuple[tuple[Any, Any], ...] = (
    *((Import.mapping, true()), (Import.warnings, true()), (LabelSet.definition, true())),
    (Step.result, col(Step.stage).in_(["ingest", "score", "canary"])),  # the last two: what a plugin said as it failed
    (Audit.details, Audit.action == "segments.describe"),
    *((column, col(Job.kind).in_(_IMPORTS)) for column in (Job.options, Job.asked)),
)
#: States of jobs with remaining steps.
GOING_ON = [state for state in JobState if not state.over]


def refuse_asked_for(session: Session, users: NamedUsers) -> None:
    """Check that no job and no schedule will import events of one of the users.

    Raises:
        JobError: one will; the message names it.
    """
    for job in session.exec(select(Job).where(col(Job.state).in_(GOING_ON), col(Job.kind).in_(_IMPORTS))).all():
        if effect := _effect_on_users(job.options, users):
            raise JobError(
                f"Job {job.id} will {effect} a user who is to be erased. Wait, or: segadmin jobs cancel {job.id}"
            )
    for schedule in session.exec(select(Schedule)).all():
        if effect := _effect_on_users(schedule.options, users):
            raise JobError(
                f"The schedule {schedule.name!r} will {effect} a user who is to be erased. Remove it: "
                f"segadmin schedule remove {schedule.name}"
            )


def refuse_uploads(session: Session) -> None:
    """Check that no job is about to import an uploaded file: an erasure removes all of them.

    Raises:
        JobError: one is; the message names it.
    """
    uploads = select(Job.id).where(col(Job.state).in_(GOING_ON), Job.kind == "import-upload")
    if number := session.exec(uploads.order_by(col(Job.id)).limit(1)).first():
        raise JobError(
            f"Job {number} imports an uploaded file, which may name a user who is to be erased. Wait until it is over, "
            f"or: segadmin jobs cancel {number}"
        )


def _effect_on_users(options: dict[str, Any], users: NamedUsers) -> str | None:
    """Return what a job with these options does with one of the users; ``None`` if they name none."""
    mapping = options.get("mapping")
    if users.without(mapping) != mapping:
        return "give every row that it imports to"
    return "import a file that is named after" if users.without(options) != options else None


def erase_in_database(settings: Settings, users: NamedUsers) -> None:
    """Delete users' corrections and merges, and remove users from messages, mappings, requests and the audit log.

    Actions and actors of the audit log are kept.
    """
    with transaction(settings) as session:
        for key in users.names:
            session.exec(delete(UserMerge).where((col(UserMerge.old_key) == key) | (col(UserMerge.new_key) == key)))
            session.exec(delete(Correction).where(col(Correction.user_key) == key))
        user_entries = session.exec(select(Audit).where(col(Audit.subject).startswith("user "))).all()
        subjects = {f"user {show_key(key)}" for key in users.names}
        # Older releases named the erased user.
        subjects |= {entry.subject for entry in user_entries if entry.action == "data.forget"}
        for entry in user_entries:
            if entry.subject in subjects:
                entry.subject = f"user {ERASED}"
        for column in _TEXTS:
            _erase_in_texts(session, column, users)
        for job in _erase_in_texts(session, col(Job.idempotency_key), users):
            job.idempotency_key = f"{job.idempotency_key} {job.id}"  # keys must be unique
        for column, condition in _JSON:
            table, name = column.class_, column.key
            for row in session.exec(select(table).where(condition)).all():
                value = {name: getattr(row, name)}
                if (without := users.without(value)) != value:
                    setattr(row, name, without[name])


def count_corrections(settings: Settings, users: NamedUsers) -> Counter[int]:
    """Return the number of corrections per user key."""
    with transaction(settings) as session:
        return Counter(key for key in session.exec(select(Correction.user_key)).all() if key in users.names)


def _erase_in_texts(session: Session, column: Any, users: NamedUsers) -> list[Any]:
    """Remove users from a column, and return the rows that named them."""
    rows = session.exec(select(column.class_).where(column.is_not(None), column != "")).all()
    texts = pl.Series([getattr(row, column.key) for row in rows], dtype=pl.String)
    naming = [row for row, owner in zip(rows, users.of_texts(texts), strict=True) if owner is not None]
    for row in naming:
        setattr(row, column.key, users.mask(getattr(row, column.key)))
    return naming
