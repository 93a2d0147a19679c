"""Jobs that repeat: kept in SQL, enqueued exactly once a slot however many beats there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim, CronSimError
from sqlmodel import Session, col, select, update

from segadmin.errors import ConfigurationError, ScheduleNotFound, SegadminError, did_you_mean
from segadmin.jobs.dispatch import Dispatch, StepMessage, dispatch_messages
from segadmin.jobs.enqueue import Enqueued, ask, save
from segadmin.jobs.intervals import interval_of, next_multiple
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, MissedSlots, Schedule
from segadmin.timezones import zone
from segadmin.urls import mask_all

log = logging.getLogger(__name__)
#: The next slot of a schedule without slots.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
#: A slot that is later than so many looks of beat was missed, not just met late.
_GRACE = timedelta(seconds=10)
#: From a slot until its schedule is overdue.
_OVERDUE = timedelta(minutes=1)
#: Missed slots are counted up to here: a schedule of every minute misses half a million in a year.
_COUNTED = 10_000
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
            _note_job(session, name, done.job)
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


def tick(settings: Settings, dispatch: Dispatch) -> list[Job]:
    """Enqueue the jobs of due schedules and return them.

    A slot is taken by a compare-and-set of ``next_slot`` in the transaction that saves the job, so each slot is
    enqueued once, however many processes call this. Slots that were missed while no process called it get one job
    together, and are recorded. A schedule that is no longer valid is paused, with a failed job that states the reason.
    Slots that were left out while the clock was ahead come all the same, once it is set back.
    """
    jobs: list[Job] = []
    messages: list[StepMessage] = []
    with reading(settings) as session:
        moment = now(session)
        schedules = session.exec(select(Schedule).where(col(Schedule.paused).is_(False))).all()
    for schedule in schedules:
        if not _is_due(schedule, moment):
            _return_to_clock(settings, schedule, moment)
            continue
        enqueued = _enqueue_slot(settings, schedule, moment)
        if enqueued is not None:
            job, called = enqueued
            jobs.append(job)
            messages += called
    dispatch_messages(settings, dispatch, messages)
    return jobs


def _enqueue_slot(settings: Settings, schedule: Schedule, moment: datetime) -> tuple[Job, list[StepMessage]] | None:
    """Save the job of the slot that is due, and return it and its messages; ``None`` if there is to be no job."""
    options, error = _checked(settings, schedule)
    try:
        moved: dict[str, Any] = {"next_slot": next_slot(schedule.cron, schedule.timezone, moment)}
    except ConfigurationError as broken:
        moved, error = {"paused": True}, f"The schedule {schedule.name!r} was paused: {broken}"
    with transaction(settings) as session:
        is_same = (col(Schedule.name) == schedule.name, col(Schedule.next_slot) == schedule.next_slot)
        taken = session.exec(update(Schedule).where(*is_same, col(Schedule.paused).is_(False)).values(**moved))
        if taken.rowcount == 0:
            return None
        key = _key(schedule)
        if session.exec(select(Job.id).where(Job.idempotency_key == key)).first() is not None:
            return None  # the clock went back, or a schedule of this name had this slot: it was served
        if interval_of(schedule.cron) is not None and _is_at_work(session, schedule):
            return None  # the next slot comes soon
        if error is None:
            job, messages = save(session, settings, schedule.kind, options, key=key)
        else:
            job, messages = save_failed(session, schedule, key, error), []
        _note_job(session, schedule.name, job)
        missed = None
        if "next_slot" in moved and moment - schedule.next_slot > _GRACE * settings.reap_seconds:
            missed = _missed(schedule, moment, job)
            session.add(missed)
    _log_slot(schedule, job, missed)
    return job, messages


def _find(session: Session, name: str) -> Schedule:
    schedule = session.get(Schedule, name, with_for_update=True)
    if schedule is None:
        known = session.exec(select(Schedule.name)).all()
        raise ScheduleNotFound(f"There is no schedule {name!r}.{did_you_mean(name, known)}")
    return schedule


def _is_due(schedule: Schedule, moment: datetime) -> bool:
    """Whether a slot has come; one that is further away than an interval is from before the clock was set back."""
    interval = interval_of(schedule.cron)
    return schedule.next_slot <= moment or (interval is not None and schedule.next_slot - moment > interval)


def _return_to_clock(settings: Settings, schedule: Schedule, moment: datetime) -> None:
    """Let a schedule go on from its first slot after now, if its next one is later: the clock was ahead and set back.

    Without this it would be silent for as long as the clock was ahead. A slot that was served is not served again.
    """
    try:
        first = next_slot(schedule.cron, schedule.timezone, moment)
    except ConfigurationError:  # it is paused when its slot comes
        return
    if first >= schedule.next_slot:
        return
    is_same = (col(Schedule.name) == schedule.name, col(Schedule.next_slot) == schedule.next_slot)
    with transaction(settings) as session:
        moved = session.exec(update(Schedule).where(*is_same).values(next_slot=first))
    if moved.rowcount:
        facts = {"action": "schedule", "schedule": schedule.name}
        log.warning("the clock was set back; the next slot is %s", first.isoformat(), extra=facts)


def _key(schedule: Schedule) -> str:
    """Return the key of the job of a slot. Slots of intervals may come twice, if the clock is set back."""
    key = f"schedule:{schedule.name}:{schedule.next_slot.isoformat()}"
    return f"{key}:{schedule.last_job_id or 0}" if interval_of(schedule.cron) is not None else key


def _is_at_work(session: Session, schedule: Schedule) -> bool:
    """Whether the last job of a schedule is not over."""
    job = session.get(Job, schedule.last_job_id) if schedule.last_job_id is not None else None
    return job is not None and not job.state.over


def _facts(schedule: Schedule | None) -> dict[str, Any] | None:
    """Return what the audit log keeps of a schedule; its options may be long."""
    return None if schedule is None else schedule.model_dump(include={"cron", "timezone", "kind", "paused"})


def _note_job(session: Session, name: str, job: Job) -> None:
    session.exec(update(Schedule).where(col(Schedule.name) == name).values(last_job_id=job.id))


def _missed(schedule: Schedule, moment: datetime, job: Job) -> MissedSlots:
    """Return the slots from the one that was due until ``moment``, counted up to a limit."""
    slots, last = 1, schedule.next_slot
    while slots < _COUNTED and (following := next_slot(schedule.cron, schedule.timezone, last)) <= moment:
        slots, last = slots + 1, following
    return MissedSlots(schedule=schedule.name, first=schedule.next_slot, last=last, slots=slots, job_id=job.id)


def _log_slot(schedule: Schedule, job: Job, missed: MissedSlots | None) -> None:
    facts = {"action": "schedule", "schedule": schedule.name, "job": job.id, "kind": job.kind}
    if job.state == JobState.FAILED:
        log.error("schedule failed; why: segadmin jobs show %s", job.id, extra=facts)
    elif missed is not None:
        log.warning("schedule missed slots; one job makes up for them", extra={**facts, "slots": missed.slots})
    else:
        log.info("schedule fired", extra=facts)


def _checked(settings: Settings, schedule: Schedule) -> tuple[dict[str, Any], str | None]:
    try:
        return check_request(settings, schedule.kind, schedule.options), None
    except SegadminError as error:
        return schedule.options, str(error)


def save_failed(session: Session, schedule: Schedule, key: str, error: str) -> Job:
    """Save the job of a slot that cannot be done; it says why."""
    job = Job(
        kind=schedule.kind,
        options=mask_all(schedule.options),  # a schedule of an older version may hold a password
        idempotency_key=key,
        state=JobState.FAILED,
        error=error,
        finished_at=now(session),
    )
    session.add(job)
    session.flush()
    return job
