"""Saving a job and its steps in one transaction, then ringing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from segadmin import failpoints
from segadmin.database import transaction
from segadmin.errors import BrokerUnavailable
from segadmin.jobs.advance import advance
from segadmin.jobs.plans import PLANS, ranges_of
from segadmin.jobs.ring import Ring, ring_steps
from segadmin.records import Job, Step
from segadmin.settings import Settings
from segadmin.store import known_store


@dataclass(frozen=True)
class Enqueued:
    """What became of an enqueue."""

    job: Job
    created: bool  #: false when the idempotency key was known: ``job`` is the one from before
    trouble: BrokerUnavailable | None = None  #: with the broker; workers hear of the job when it is over

    @property
    def rung(self) -> bool:
        """Whether workers were told."""
        return self.trouble is None


def enqueue(
    settings: Settings,
    ring: Ring,
    kind: str,
    options: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    priority: int = 5,
    not_before: datetime | None = None,
) -> Enqueued:
    """Save a job and its steps, then tell the workers.

    Args:
        settings: where the database is and how wide to cut.
        ring: see :data:`segadmin.jobs.ring.Ring`; its failure is not an error here.
        kind: a key of :data:`segadmin.jobs.plans.PLANS`.
        options: of the job; JSON only.
        idempotency_key: a second enqueue with the same key returns the first one's job.
        priority: 0 (last) to 9 (first).
        not_before: the first step starts no earlier.

    Raises:
        DataError: the store is empty.
    """
    try:
        with transaction(settings) as session:
            job, ready = save(
                session, settings, kind, options, key=idempotency_key, priority=priority, not_before=not_before
            )
    except IntegrityError:
        with transaction(settings) as session:
            found = session.exec(select(Job).where(Job.idempotency_key == idempotency_key)).one()
        return Enqueued(found, created=False)
    failpoints.reach("enqueue")
    return Enqueued(job, created=True, trouble=ring_steps(settings, ring, ready))


def save(
    session: Session,
    settings: Settings,
    kind: str,
    options: dict[str, Any],
    *,
    key: str | None = None,
    priority: int = 5,
    not_before: datetime | None = None,
) -> tuple[Job, list[int]]:
    """Add a job and its steps to ``session``; return the job and the steps that are ready.

    Raises:
        DataError: the store is empty.
    """
    store = known_store(session)
    job = Job(kind=kind, options=options, idempotency_key=key, priority=priority)
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
        for stage in PLANS[kind]
        for first, last in ranges_of(stage, options, store.buckets, settings.fan_out)
    ]
    session.add_all(steps)
    ready = advance(session, job.id).ready
    failpoints.reach("saved")
    return job, ready
