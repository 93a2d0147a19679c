"""Due slots of schedules: each is enqueued exactly once, however many beats there are."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select, update

from segadmin.errors import ConfigurationError, SegadminError
from segadmin.jobs.dispatch import Dispatch, StepMessage, dispatch_messages
from segadmin.jobs.enqueue import save
from segadmin.jobs.intervals import interval_of
from segadmin.jobs.requests import check_request
from segadmin.jobs.schedules import next_slot, note_job
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, MissedSlots, Schedule
from segadmin.urls import mask_all

log = logging.getLogger(__name__)
#: A slot that is later than so many looks of beat was missed, not just met late.
_GRACE = timedelta(seconds=10)
#: Missed slots are counted up to here: a schedule of every minute misses half a million in a year.
_COUNTED = 10_000


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
        note_job(session, schedule.name, job)
        missed = None
        if "next_slot" in moved and moment - schedule.next_slot > _GRACE * settings.reap_seconds:
            missed = _missed(schedule, moment, job)
            session.add(missed)
    _log_slot(schedule, job, missed)
    return job, messages


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
