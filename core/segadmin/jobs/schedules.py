"""Jobs that repeat: kept in SQL, enqueued exactly once a slot however many beats there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError
from sqlmodel import Session, col, select, update

from segadmin.database import now, transaction
from segadmin.errors import ConfigurationError, SegadminError, did_you_mean
from segadmin.jobs.enqueue import save
from segadmin.jobs.request import check_request
from segadmin.jobs.ring import Ring, ring_steps
from segadmin.records import Job, JobState, Schedule
from segadmin.settings import Settings
from segadmin.timezones import zone


def next_slot(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first slot of ``cron`` after ``after``, in UTC.

    Raises:
        ConfigurationError: the expression or the time zone cannot be understood, or it never comes.
    """
    here = after.astimezone(zone(timezone))
    try:
        return next(CronSim(cron, here)).astimezone(UTC)
    except (CronSimError, StopIteration):
        raise ConfigurationError(
            f"{cron!r} is not a cron expression that ever comes. "
            "Give minute, hour, day of month, month, day of week, such as '0 3 * * *' for 3 o'clock every night."
        ) from None


def add(
    settings: Settings, name: str, cron: str, kind: str, options: dict[str, Any], *, timezone: str = "UTC"
) -> Schedule:
    """Save a schedule, replacing one of the same name.

    Raises:
        ConfigurationError: see :func:`next_slot`.
    """
    with transaction(settings) as session:
        schedule = session.merge(
            Schedule(
                name=name,
                cron=cron,
                timezone=timezone,
                kind=kind,
                options=options,
                next_slot=next_slot(cron, timezone, now(session)),
            )
        )
        session.flush()
        return schedule


def list_schedules(settings: Settings) -> list[Schedule]:
    """Return all schedules, the next one due first."""
    with transaction(settings) as session:
        return list(session.exec(select(Schedule).order_by(col(Schedule.next_slot))).all())


def remove(settings: Settings, name: str) -> None:
    """Delete a schedule; jobs that it enqueued stay.

    Raises:
        ConfigurationError: there is none of that name.
    """
    with transaction(settings) as session:
        schedule = session.get(Schedule, name)
        if schedule is None:
            known = session.exec(select(Schedule.name)).all()
            raise ConfigurationError(f"There is no schedule {name!r}.{did_you_mean(name, known)}")
        session.delete(schedule)


def tick(settings: Settings, ring: Ring) -> list[Job]:
    """Enqueue what is due and return the jobs.

    A slot is taken by moving ``next_slot`` on by compare-and-set in the transaction that saves the job, so it
    is enqueued once whoever else ticks. Of slots missed while nothing ticked, one job makes up for all.
    """
    jobs: list[Job] = []
    ready: list[int] = []
    with transaction(settings) as session:
        moment = now(session)
        due = session.exec(select(Schedule).where(Schedule.next_slot <= moment)).all()
    for schedule in due:
        options, error = _checked(settings, schedule)
        with transaction(settings) as session:
            taken = session.exec(
                update(Schedule)
                .where(col(Schedule.name) == schedule.name, col(Schedule.next_slot) == schedule.next_slot)
                .values(next_slot=next_slot(schedule.cron, schedule.timezone, moment))
            )
            if taken.rowcount == 0:
                continue
            job, steps = _save(session, settings, schedule, options, error)
            session.exec(update(Schedule).where(col(Schedule.name) == schedule.name).values(last_job_id=job.id))
        jobs.append(job)
        ready += steps
    ring_steps(settings, ring, ready)
    return jobs


def _checked(settings: Settings, schedule: Schedule) -> tuple[dict[str, Any], str | None]:
    try:
        return check_request(settings, schedule.kind, schedule.options), None
    except SegadminError as error:
        return schedule.options, str(error)


def _save(
    session: Session, settings: Settings, schedule: Schedule, options: dict[str, Any], error: str | None
) -> tuple[Job, list[int]]:
    """Save the job of a slot; where it cannot be done, a failed one that says why."""
    key = f"schedule:{schedule.name}:{schedule.next_slot.isoformat()}"
    if error is None:
        return save(session, settings, schedule.kind, options, key=key)
    job = Job(
        kind=schedule.kind,
        options=options,
        idempotency_key=key,
        state=JobState.FAILED,
        error=error,
        finished_at=now(session),
    )
    session.add(job)
    session.flush()
    return job, []
