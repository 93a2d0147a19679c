"""Saving a job and its steps in one transaction, then dispatching."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from segadmin import failpoints
from segadmin.errors import BrokerUnavailable, ConfigurationError, KeyReused
from segadmin.jobs.advance import advance
from segadmin.jobs.dispatch import Dispatch, StepMessage, dispatch_messages
from segadmin.jobs.registry import ranges_of, workflow_of
from segadmin.jobs.requests import check_request, chosen_options, current_names
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, Step
from segadmin.storage.store import known_store
from segadmin.urls import mask_all

#: Beginnings of the keys of jobs that import posted events, deliver changes, follow a refresh, import an upload, or
#: stand for an imported model (:mod:`segadmin.models.importing`); and of all of ours.
INBOX_KEY = "inbox:"
DELIVER_KEY = "deliver:"
FOLLOW_UP_KEY = "follow-up:"
UPLOAD_KEY = "upload:"
IMPORT_MODEL_KEY = "import-model:"
RESERVED = ("schedule:", INBOX_KEY, DELIVER_KEY, FOLLOW_UP_KEY, UPLOAD_KEY, IMPORT_MODEL_KEY)
#: So many differences of two requests are shown, each value up to so many characters.
_SHOWN, _LONGEST = 3, 40


@dataclass(frozen=True)
class Enqueued:
    """What became of an enqueue."""

    job: Job
    created: bool  #: false when the idempotency key was known: ``job`` is the one from before
    ready: bool = False  #: whether a step of the new job can start at once: no other job is in its way
    trouble: BrokerUnavailable | None = None  #: with the broker; workers hear of the job when it is over

    @property
    def dispatched(self) -> bool:
        """Whether workers were told."""
        return self.trouble is None


def ask(
    settings: Settings,
    dispatch: Dispatch,
    kind: str,
    options: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    priority: int = 5,
) -> Enqueued:
    """Check what somebody asks for and enqueue it; the same request with a known key returns the job from before.

    Arguments as of :func:`enqueue`. The key is looked at first: what the request leaves open, such as the champion to
    go on from, may be another by now, and the request is the same all the same.

    Raises:
        KeyReused: the key belongs to a job that was asked for something else.
        ConfigurationError: see :func:`segadmin.jobs.requests.check_request`; or the key cannot be used.
        DataError: there are no events, or no such labels.
        PluginNotFound: there is no such backbone, textualizer or tracker.
    """
    chosen = chosen_options(kind, options)
    if idempotency_key is not None:
        _check_key(idempotency_key)
        with reading(settings) as session:
            earlier = _job_of(session, idempotency_key)
        if earlier is not None:
            return _same(earlier, kind, chosen)
    checked = check_request(settings, kind, options)
    return enqueue(
        settings,
        dispatch,
        kind,
        checked,
        idempotency_key=idempotency_key,
        priority=priority,
        asked=chosen,
        audited=True,
    )


def enqueue(
    settings: Settings,
    dispatch: Dispatch,
    kind: str,
    options: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    priority: int = 5,
    not_before: datetime | None = None,
    asked: dict[str, Any] | None = None,
    audited: bool = False,
) -> Enqueued:
    """Save a job and its steps, then tell the workers.

    Args:
        settings: where the database is and how wide to cut.
        dispatch: see :data:`segadmin.jobs.dispatch.Dispatch`; its failure is not an error here.
        kind: of the job, registered by :func:`segadmin.jobs.registry.register`.
        options: of the job; JSON only.
        idempotency_key: a second enqueue of the same with the same key returns the first one's job.
        priority: 0 (last) to 9 (first).
        not_before: the first step starts no earlier.
        asked: by which requests with the same key are compared; default: ``options``.
        audited: whether somebody asked for it, which the audit log records.

    Raises:
        KeyReused: the key belongs to a job that was asked for something else.
        DataError: the store is empty.
    """
    asked = options if asked is None else asked
    try:
        with transaction(settings) as session:
            job, messages = save(
                session,
                settings,
                kind,
                options,
                key=idempotency_key,
                priority=priority,
                not_before=not_before,
                asked=asked,
            )
            if audited:
                session.add(entry("jobs.enqueue", f"job {job.id}", before=None, after=job.state, kind=kind))
    except IntegrityError:
        if idempotency_key is None:
            raise
        with transaction(settings) as session:
            earlier = _job_of(session, idempotency_key)
        if earlier is None:
            raise
        return _same(earlier, kind, asked)
    failpoints.reach("enqueue")
    trouble = dispatch_messages(settings, dispatch, messages)
    return Enqueued(job, created=True, ready=bool(messages), trouble=trouble)


def save(
    session: Session,
    settings: Settings,
    kind: str,
    options: dict[str, Any],
    *,
    key: str | None = None,
    priority: int = 5,
    not_before: datetime | None = None,
    asked: dict[str, Any] | None = None,
) -> tuple[Job, list[StepMessage]]:
    """Add a job and its steps to ``session``; return the job, and the messages to be sent once that is committed.

    Raises:
        DataError: the store is empty.
    """
    store = known_store(session)
    # By the clock that its steps go by: that of this machine may be ahead.
    job = Job(kind=kind, options=options, idempotency_key=key, priority=priority, created_at=now(session))
    job.asked = asked if key is not None else None
    session.add(job)
    session.flush()
    assert job.id is not None
    steps = [
        Step(
            job_id=job.id,
            stage=stage.name,
            queue=stage.queue,
            after=list(stage.after),
            bucket_from=first,
            bucket_to=last,
            max_attempts=settings.max_attempts,
            not_before=None if stage.after else not_before,
        )
        for stage in workflow_of(kind).stages
        for first, last in ranges_of(stage, options, store.buckets, settings.fan_out)
    ]
    session.add_all(steps)
    messages = advance(session, job).ready
    failpoints.reach("saved")
    return job, messages


def _job_of(session: Session, key: str | None) -> Job | None:
    return session.exec(select(Job).where(Job.idempotency_key == key)).first()


def _check_key(key: str) -> None:
    """Refuse a key that would come again by accident.

    Raises:
        ConfigurationError: it is empty, or of the form that schedules and posted events use.
    """
    if not key.strip():
        raise ConfigurationError("The key is empty. Give --key a name for this request, or leave it out.")
    if key.startswith(RESERVED):
        raise ConfigurationError(f"The key {key!r} begins with {' or '.join(RESERVED)}, as our own do. Take another.")


def _same(job: Job, kind: str, requested: dict[str, Any]) -> Enqueued:
    """Return the job that has the key.

    Raises:
        KeyReused: it was asked for something else; naming what differs.
    """
    differences = _unlike(job, kind, requested)
    if differences:
        more = f", and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise KeyReused(
            f"Job {job.id} ({job.kind}) has the key {job.idempotency_key!r}, and was asked for something else: "
            f"{', '.join(differences[:_SHOWN])}{more}. Nothing was enqueued. Take another key, or look: "
            f"segadmin jobs show {job.id}"
        )
    return Enqueued(job, created=False)


def _unlike(job: Job, kind: str, requested: dict[str, Any]) -> list[str]:
    """Return how the request that made ``job`` differs from one of this ``kind`` for what is ``requested``."""
    if job.kind != kind:
        return [f"its kind is {job.kind}, not {kind}"]
    if job.asked is not None:
        return list(_differences(current_names(kind, job.asked), requested))
    # From before there was such a column: what was left open is not known, so only what is requested is compared.
    options = current_names(kind, job.options)
    return list(_differences({name: options.get(name) for name in requested}, requested))


def _differences(before: dict[str, Any], requested: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield what differs, an option each; of nested options only those within that differ."""
    for name in sorted({*before, *requested}):
        old, new = before.get(name), requested.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"its {prefix}{name} is {_value(old)}, not {_value(new)}"


def _value(value: Any) -> str:
    if value is None:
        return "the default"
    text = str(mask_all(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
