"""Jobs that repeat: schedules are kept in SQL, and :mod:`segadmin.jobs.due_slots` enqueues their jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim, CronSimError
from sqlmodel import Session, col, select, update

from segadmin.errors import ConfigurationError, ScheduleNotFound, did_you_mean
from segadmin.jobs.dispatch import Dispatch
from segadmin.jobs.enqueue import Enqueued, ask
from segadmin.jobs.intervals import interval_of, next_multiple
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, MissedSlots, Schedule
from segadmin.timezones import zone

#: The next slot of a schedule without slots.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
#: From a slot until its schedule is overdue.
_OVERDUE = timedelta(minutes=1)
#: A sixth field is of seconds here, and of years elsewhere.
_FIELDS = 5
_FORM = "Give minute, hour, day of month, month, day of week, such as '0 3 * * *' for 3 o'clock every night."


def next_slot(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first slot of ``cron`` after ``after``, in UTC; :data:`NEVER` if it is empty.

    It may also be an expression of :func:`segadmin.jobs.intervals.every`.

    Where clocks change, a fixed time that is skipped comes right after the gap and one that comes twice counts once,
    while hourly and more frequent slots follow real time, as in Debian's cron.

    Raises:
        ConfigurationError: the expression or the time zone cannot be understood, or it never comes.
    """
    here = after.astimezone(zone(timezone))
    if not cron:
        return NEVER
    if (interval := interval_of(cron)) is not None:
        return next_multiple(interval, after)
    try:  # in the hour that comes twice, the first slots found may be of the first time
        return next(slot for each in CronSim(cron, here) if (slot := each.astimezone(UTC)) > after)
    except (CronSimError, StopIteration):
        raise ConfigurationError(f"{cron!r} is not a cron expression that ever comes. {_FORM}") from None


def check_schedule(settings: Settings, cron: str, timezone: str, kind: str, options: dict[str, Any]) -> None:
    """Check a schedule, and its job as if it were enqueued now.

    Raises:
        ConfigurationError: see :func:`check_slots`.
        SegadminError: see :func:`segadmin.jobs.requests.check_request`.
    """
    check_slots(cron, timezone)
    check_request(settings, kind, options)


def check_slots(cron: str, timezone: str) -> None:
    """Check when the slots of a schedule are.

    Raises:
        ConfigurationError: see :func:`next_slot`; or the expression has seconds, or years.
    """
    if interval_of(cron) is None and (fields := len(cron.split())) > _FIELDS:
        raise ConfigurationError(f"{cron!r} has {fields} fields instead of {_FIELDS}. {_FORM}")
    next_slot(cron, timezone, datetime.now(UTC))


#: Raises an error if a schedule (``None``: there is none) must not be changed as it is.
Check = Callable[[Schedule | None], None]


def _any(_: Schedule | None) -> None:
    """Let every schedule be changed."""


def add(
    settings: Settings,
    name: str,
    cron: str,
    kind: str,
    options: dict[str, Any],
    *,
    timezone: str = "UTC",
    freshness: float | None = None,
    check: Check = _any,
) -> Schedule:
    """Save a schedule, replacing one of the same name, in the transaction in which it was checked.

    The same one again, as when a request is repeated, changes nothing: a slot that is due stays due.

    Args:
        settings: location of the database.
        name: of the schedule.
        cron: when its slots are, see :func:`next_slot`.
        kind: of its jobs.
        options: of its jobs.
        timezone: of the expression.
        freshness: objective in seconds, see :mod:`segadmin.workflows.live`.
        check: called with the schedule of this name, if there is one; raises if it must stay as it is.

    Raises:
        ConfigurationError: see :func:`next_slot`.
    """
    with transaction(settings) as session:
        current = session.get(Schedule, name, with_for_update=True)
        check(current)
        asked: dict[str, Any] = {"cron": cron, "timezone": timezone, "kind": kind, "options": options}
        asked["freshness_seconds"] = freshness
        if current is not None and current.model_dump(include={*asked, "paused"}) == asked | {"paused": False}:
            return current
        before = _facts(current)
        schedule = session.merge(Schedule(name=name, next_slot=next_slot(cron, timezone, now(session)), **asked))
        session.flush()
        session.add(entry("schedules.add", f"schedule {name}", before=before, after=_facts(schedule)))
        return schedule


def list_schedules(settings: Settings) -> list[Schedule]:
    """Return all schedules, the next one due first."""
    with reading(settings) as session:
        return list(session.exec(select(Schedule).order_by(col(Schedule.next_slot))).all())


def overdue(settings: Settings) -> list[str]:
    """Return the names of the schedules that no beat has enqueued for a minute after they were due."""
    with reading(settings) as session:
        late = Schedule.next_slot < now(session) - _OVERDUE
        query = select(Schedule.name).where(late, col(Schedule.paused).is_(False)).order_by(col(Schedule.next_slot))
        return list(session.exec(query).all())


def remove(settings: Settings, name: str, *, check: Check = _any) -> None:
    """Delete a schedule; jobs that it enqueued stay.

    Raises:
        ScheduleNotFound: there is none of that name.
    """
    with transaction(settings) as session:
        schedule = _find(session, name)
        check(schedule)
        session.add(entry("schedules.remove", f"schedule {name}", before=_facts(schedule), after=None))
        session.delete(schedule)


def pause(settings: Settings, name: str, *, check: Check = _any) -> Schedule:
    """Let the slots of a schedule pass by; raises as :func:`remove` does."""
    with transaction(settings) as session:
        schedule = _find(session, name)
        check(schedule)
        if not schedule.paused:
            before, schedule.paused = _facts(schedule), True
            session.add(schedule)
            session.add(entry("schedules.pause", f"schedule {name}", before=before, after=_facts(schedule)))
        return schedule


def resume(settings: Settings, name: str, *, check: Check = _any) -> Schedule:
    """Go on from the next slot; those that passed meanwhile are not made up for. Raises as :func:`remove` does."""
    with transaction(settings) as session:
        schedule = _find(session, name)
        check(schedule)
        if schedule.paused:
            before, schedule.paused = _facts(schedule), False
            session.add(entry("schedules.resume", f"schedule {name}", before=before, after=_facts(schedule)))
            schedule.next_slot = next_slot(schedule.cron, schedule.timezone, now(session))
            session.add(schedule)
        return schedule


def run(
    settings: Settings, dispatch: Dispatch, name: str, *, check: Check = _any, idempotency_key: str | None = None
) -> Enqueued:
    """Enqueue the job of a schedule out of turn, if ``check`` allows; its next slot stays.

    The same with a known ``idempotency_key`` returns the job from before.

    Raises:
        ConfigurationError: there is no schedule of that name, or its options or the key cannot be used.
        KeyReused: the key belongs to a job that was asked for something else.
        DataError: the store is empty.
    """
    with transaction(settings) as session:
        schedule = _find(session, name)
        check(schedule)
    done = ask(settings, dispatch, schedule.kind, schedule.options, idempotency_key=idempotency_key)
    if done.created:
        with transaction(settings) as session:
            note_job(session, name, done.job)
    return done


@dataclass(frozen=True)
class ScheduleView:
    """A schedule, and what came of it."""

    schedule: Schedule
    upcoming: list[datetime]  #: the next slots, in UTC
    jobs: Sequence[Job]  #: of its latest slots, the newest first
    missed: Sequence[MissedSlots]  #: the newest first


def view(settings: Settings, name: str, slots: int = 5) -> ScheduleView:
    """Return a schedule with its next and latest ``slots``; raises as :func:`remove` does."""
    with transaction(settings) as session:
        schedule = _find(session, name)
        upcoming = [schedule.next_slot] if schedule.cron else []
        while len(upcoming) < slots and schedule.cron:
            upcoming.append(next_slot(schedule.cron, schedule.timezone, upcoming[-1]))
        of_this = col(Job.idempotency_key).startswith(f"schedule:{name}:", autoescape=True)
        jobs = session.exec(select(Job).where(of_this).order_by(col(Job.id).desc()).limit(slots)).all()
        missed = select(MissedSlots).where(MissedSlots.schedule == name).order_by(col(MissedSlots.id).desc())
        return ScheduleView(schedule, upcoming, jobs, session.exec(missed.limit(slots)).all())


def _find(session: Session, name: str) -> Schedule:
    schedule = session.get(Schedule, name, with_for_update=True)
    if schedule is None:
        known = session.exec(select(Schedule.name)).all()
        raise ScheduleNotFound(f"There is no schedule {name!r}.{did_you_mean(name, known)}")
    return schedule


def _facts(schedule: Schedule | None) -> dict[str, Any] | None:
    """Return what the audit log keeps of a schedule; its options may be long."""
    return None if schedule is None else schedule.model_dump(include={"cron", "timezone", "kind", "paused"})


def note_job(session: Session, name: str, job: Job) -> None:
    """Note the last job of a schedule."""
    session.exec(update(Schedule).where(col(Schedule.name) == name).values(last_job_id=job.id))
