"""Corrections of users' segments: they override the model at once, and are labels of the next training.

The CLI and the HTTP API call :func:`correct`, :func:`pin` and :func:`withdraw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlmodel import Session, col, or_, select

from segadmin.errors import ConfigurationError, DataError, did_you_mean
from segadmin.events.keys import show_key
from segadmin.events.merged_users import MergedUsers
from segadmin.hashing import bucket_of
from segadmin.labels.corrections import effective, in_force
from segadmin.labels.label_sets import find_label_set
from segadmin.settings import Settings
from segadmin.snapshots.publish_overrides import publish_overrides
from segadmin.snapshots.read import assignments, currents, find_snapshot
from segadmin.snapshots.user import find_user
from segadmin.storage.audit import current_actor, entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.import_lock import users_stay
from segadmin.storage.records import MAX_REASON, MAX_WEIGHT, NOT_ENOUGH, Correction, LabelSet, Lock, ModelVersion
from segadmin.storage.store import known_store


@dataclass(frozen=True)
class Corrected:
    """What a correction, a pin or a withdrawal has done."""

    correction: Correction
    before: str | None  #: the user's segment in the current snapshot until now; ``None``: in none
    snapshot_id: int | None  #: the snapshot that was published for it; ``None``: none, as there was no other one
    replaced: int | None = None  #: number of the correction that it replaces
    job_id: int | None = None  #: a job that is scoring the users; its snapshot will have the correction too


def correct(
    settings: Settings,
    user: str,
    segment: str,
    reason: str,
    *,
    label_set: str | None = None,
    expires_at: datetime | None = None,
    weight: int = 1,
    actor: str | None = None,
) -> Corrected:
    """Put a user in a segment, whatever the model says, until the correction expires or is withdrawn.

    A snapshot in which only this user differs becomes current at once. An earlier correction of the user is replaced;
    the same one again, as when a request is repeated, only publishes what is not published yet.

    Args:
        settings: location of the store.
        user: the shop's id, or a pseudonym of 16 hex digits.
        segment: of the label set.
        reason: for those who read it later.
        label_set: name of the label set; default: the only one.
        expires_at: when it ends, in the future; ``None``: never.
        weight: as how many labelled rows it counts in the next training; 0: it is no label.
        actor: who does it; default: the user that runs this process.

    Raises:
        DataError: there is no such user.
        ConfigurationError: there is no such label set or segment, or another argument is invalid.
        StorageError: it could not be written; or it was stored, and could not be published (the next refresh does).
    """
    _check(reason, weight)
    with users_stay(settings):  # an erasure would miss what is written for the user meanwhile
        key = find_user(settings, user)
        with transaction(settings) as session:
            name, segments = segments_of_labels(session, label_set)
            _check_segment(segment, name, segments)
            moment = now(session)
            if expires_at is not None and expires_at <= moment:
                raise ConfigurationError(
                    f"A correction cannot expire at {expires_at:%Y-%m-%d %H:%M} (UTC), which is past. Give a later "
                    "date, a time from now such as --expires 90d, or --expires never."
                )
            made = Correction(
                label_set=name,
                user_key=key,
                segment=segment,
                reason=reason.strip(),
                actor=actor or current_actor(),
                weight=weight,
                created_at=moment,
                expires_at=expires_at,
            )
            current, replaced = _put_in_force(session, made)
        return _published(settings, current, replaced)


def pin(
    settings: Settings,
    user: str,
    reason: str,
    *,
    segment: str | None = None,
    label_set: str | None = None,
    actor: str | None = None,
) -> Corrected:
    """Keep a user in a segment, by default the present one: a correction that never expires and is no label.

    Raises:
        DataError: there is no such user, or the user has no segment now and none was given.
        ConfigurationError, StorageError: see :func:`correct`.
    """
    if segment is None:
        key = find_user(settings, user)
        with reading(settings) as session:
            name, _ = segments_of_labels(session, label_set)
        segment = _segment_now(settings, key, name)
        if segment is None or segment == NOT_ENOUGH:
            raise DataError(
                f"The user {user!r} is in no segment of {name!r} now. Name one: segadmin users pin {user} --segment"
            )
    return correct(settings, user, segment, reason, label_set=label_set, weight=0, actor=actor)


def withdraw(
    settings: Settings, user: str, reason: str, *, label_set: str | None = None, actor: str | None = None
) -> Corrected:
    """End the correction of a user, who returns to the segment by the model at once.

    The same call again, as when a request is repeated, only publishes what is not published yet.

    Raises:
        DataError: there is no such user, or no correction of the user is in force.
        ConfigurationError, StorageError: see :func:`correct`.
    """
    _check(reason)
    with users_stay(settings):
        key = find_user(settings, user)
        with transaction(settings) as session:
            name, _ = segments_of_labels(session, label_set)
            newest = next((each for each in corrections_of(session, key) if each.label_set == name), None)
            ended = _end(session, name, key, now(session), actor=actor, because=reason)
            if ended is not None:
                _audit(session, "users.withdraw", ended, actor)
            elif newest is not None and _was_withdrawn(newest, actor or current_actor(), reason):
                ended = newest
            else:
                raise DataError(_nothing_to_withdraw(newest, name, user))
        return _published(settings, ended)


def keep_corrections(settings: Settings, label_set: str) -> int | None:
    """Publish the corrections that the current snapshot lacks, as after a rollback to an older one; return its number.

    Raises:
        StorageError: it could not be published; the next refresh does.
    """
    with users_stay(settings):
        snapshot = publish_overrides(settings, label_set)
    return None if snapshot is None else snapshot.id


def corrections_of(session: Session, key: int) -> Sequence[Correction]:
    """Return all corrections of a user and of those who were merged with them, newest first."""
    query = select(Correction).where(col(Correction.user_key).in_(MergedUsers.among(session, [key]).group(key)))
    return session.exec(query.order_by(col(Correction.id).desc())).all()


def list_corrections(
    session: Session,
    label_set: str | None = None,
    limit: int | None = None,
    *,
    before: int | None = None,
    over: bool = False,
) -> Sequence[Correction]:
    """Return corrections, newest first.

    Args:
        session: of the database.
        label_set: whose; ``None``: all.
        limit: most corrections.
        before: only those older than the one with this number.
        over: also those that expired or were withdrawn.

    Raises:
        DataError: there is no such label set.
    """
    query = select(Correction).order_by(col(Correction.id).desc()).limit(limit)
    if label_set is not None:
        name, _ = segments_of_labels(session, label_set)
        query = query.where(Correction.label_set == name)
    if before is not None:
        query = query.where(col(Correction.id) < before)
    if not over:
        is_lasting = or_(col(Correction.expires_at).is_(None), col(Correction.expires_at) > now(session))
        query = query.where(col(Correction.withdrawn_at).is_(None), is_lasting)
    return session.exec(query).all()


def _check(reason: str, weight: int = 1) -> None:
    if not reason.strip():
        raise ConfigurationError("A correction needs a reason, for those who read it later: --reason 'told us so'")
    if len(reason) > MAX_REASON:
        raise ConfigurationError(f"The reason has {len(reason):,} characters; {MAX_REASON:,} are allowed.")
    if not 0 <= weight <= MAX_WEIGHT:
        raise ConfigurationError(
            f"A weight of {weight} is not between 0 and {MAX_WEIGHT}: it is as how many labelled rows the correction "
            "counts, and 0 if it only overrides the model."
        )


def segments_of_labels(session: Session, name: str | None) -> tuple[str, tuple[str, ...]]:
    """Return a label set and its segments: those of the current snapshot's model, else those of the labels.

    Args:
        session: of the database.
        name: ``None``: the only label set.

    Raises:
        ConfigurationError: there is no such label set, or there are several.
        DataError: there is none at all.
    """
    current = currents(session)
    if name in current or (name is None and len(current) == 1):
        snapshot = find_snapshot(session, "current", name)
        return snapshot.label_set, tuple(session.get_one(ModelVersion, snapshot.model_version_id).segments)
    if name is None and current:
        raise ConfigurationError(f"Which label set? Add --labels; there are: {', '.join(current)}.")
    if name is not None and current and session.get(LabelSet, name) is None:
        raise ConfigurationError(f"There is no label set {name!r}.{did_you_mean(name, current)}")
    chosen = find_label_set(session, name)
    return chosen.name, tuple(chosen.segments)


def _check_segment(segment: str, label_set: str, segments: Sequence[str]) -> None:
    if segment == NOT_ENOUGH:
        raise ConfigurationError(
            f"{NOT_ENOUGH!r} means that the model knows too little, so nobody can be corrected to it. Name a segment "
            f"of {label_set!r}: {', '.join(segments)}."
        )
    if segment not in segments:
        raise ConfigurationError(
            f"There is no segment {segment!r} in {label_set!r}.{did_you_mean(segment, segments)} "
            f"See: segadmin snapshots show --label-set {label_set}"
        )


def _is_same(one: Correction, other: Correction) -> bool:
    """Whether two corrections were asked for in the same words."""
    asked = ("user_key", "segment", "reason", "actor", "weight", "expires_at")
    return all(getattr(one, name) == getattr(other, name) for name in asked)


def _was_withdrawn(correction: Correction, actor: str, reason: str) -> bool:
    """Whether a correction was withdrawn in the same words."""
    return (correction.withdrawn_by, correction.withdrawn_because) == (actor, reason.strip())


def _put_in_force(session: Session, made: Correction) -> tuple[Correction, Correction | None]:
    """Store a correction, unless the same one is in force; return the one in force now, and the one it replaced."""
    earlier = effective(session, made.label_set, [made.user_key]).get(made.user_key)
    if earlier is not None and _is_same(earlier, made):
        return earlier, None
    because = f"replaced: {made.reason}"
    replaced = _end(session, made.label_set, made.user_key, made.created_at, actor=made.actor, because=because)
    session.add(made)
    session.flush()
    _audit(session, "users.correct", made, made.actor, replaced=None if replaced is None else replaced.id)
    return made, replaced


def _end(
    session: Session, label_set: str, key: int, moment: datetime, *, actor: str | None, because: str
) -> Correction | None:
    """End the corrections of a user that are in force, and return the one that decided: the user's own, if any.

    There are several if users were merged who had one each.
    """
    decided = effective(session, label_set, [key]).get(key)
    for correction in in_force(session, label_set, list(MergedUsers.among(session, [key]).group(key))):
        correction.withdrawn_at, correction.withdrawn_by = moment, actor or current_actor()
        correction.withdrawn_because = because.strip()
        session.add(correction)
    return decided


def _nothing_to_withdraw(newest: Correction | None, label_set: str, user: str) -> str:
    if newest is None:
        fix = f"Correct the user first: segadmin users correct {user} --segment SEGMENT --reason REASON"
        return f"The user {user!r} was never corrected in {label_set!r}. {fix}"
    end, how = newest.expires_at, "expired"
    if newest.withdrawn_at is not None:
        end, how = newest.withdrawn_at, f"was withdrawn by {newest.withdrawn_by}"
    return (
        f"No correction of the user {user!r} in {label_set!r} is in force: the last one, to {newest.segment!r}, {how} "
        f"at {end:%Y-%m-%d %H:%M} (UTC). See: segadmin users corrections --all"
    )


def _audit(session: Session, action: str, correction: Correction, actor: str | None, **details: object) -> None:
    # Without the reason, which may tell about the user: an erasure deletes it with the correction.
    facts = {name: getattr(correction, name) for name in ("label_set", "segment", "weight")}
    expires = None if correction.expires_at is None else correction.expires_at.isoformat()
    subject = f"user {show_key(correction.user_key)}"
    audited = entry(action, subject, correction=correction.id, **facts, expires_at=expires, **details)
    audited.actor = actor or audited.actor
    session.add(audited)


def _published(settings: Settings, correction: Correction, replaced: Correction | None = None) -> Corrected:
    before = _segment_now(settings, correction.user_key, correction.label_set)
    snapshot = publish_overrides(settings, correction.label_set)
    with reading(settings) as session:
        lock = session.get(Lock, f"snapshot:{correction.label_set}")
    return Corrected(
        correction,
        before,
        None if snapshot is None else snapshot.id,
        None if replaced is None else replaced.id,
        None if lock is None else lock.job_id,
    )


def _segment_now(settings: Settings, key: int, label_set: str) -> str | None:
    with reading(settings) as session:
        number, buckets = currents(session).get(label_set), known_store(session).buckets
    if number is None:
        return None
    rows = assignments(settings, number, buckets=[bucket_of(key, buckets)]).filter(pl.col("user_key") == key)
    segments = rows.select(pl.col("segment").fill_null(NOT_ENOUGH)).collect()["segment"].to_list()
    return segments[0] if segments else None
