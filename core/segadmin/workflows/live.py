"""Live segments: a refresh follows the events of a schedule with an objective, as often as the objective needs.

Imports are the micro-batches: whenever events were imported since the last job of the schedule looked, and no job of it
is queued or on its way to publish, a refresh is enqueued: the report and the profiles of one do not delay the next. It
reads the users whom the events touched. What it looks at are versions of the lake's table of events, not clocks, so
that no event is left out if a clock is set back.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select, update

from segadmin.errors import ConfigurationError, SegadminError
from segadmin.jobs import locks
from segadmin.jobs.dispatch import Dispatch, StepMessage, dispatch_messages
from segadmin.jobs.due_slots import save_failed
from segadmin.jobs.enqueue import save
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.snapshots.policy import TimePolicy
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, Schedule, Step, StepState

log = logging.getLogger(__name__)
#: The kind of job that has an objective.
KIND = "refresh"
#: From one refresh to the next, as a fraction of the objective: an event waits for the refresh that runs, and for its
#: own. More often costs more and gains little; less often, the objective is missed when a refresh takes long.
_PAUSE = 0.2
#: Events are imported so often, as a fraction of the objective.
_IMPORT = 0.15
#: After a job that failed; doubled with each further one, up to an hour.
_AFTER_FAILURE, _LONGEST = timedelta(minutes=1), timedelta(hours=1)
#: After these stages events may wait for a refresh that nothing is in the way of.
STAGES = frozenset({"ingest", "publish", "canary", "monitor", "follow_up", "segment_profiles"})


def objective_options(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the jobs of a schedule with an objective: it reads only users with events, unless told.

    Raises:
        ConfigurationError: jobs of this kind publish no segments when events come in.
    """
    if kind != KIND:
        raise ConfigurationError(
            f"A job of the kind {kind} has no freshness. Give --freshness to a schedule of the kind {KIND}."
        )
    return {"time": TimePolicy.ON_EVENT.value, **options}


def shortest_objective(settings: Settings) -> float | None:
    """Return the shortest objective of a schedule that is not paused, in seconds; ``None`` if there is none."""
    with reading(settings) as session:
        given = col(Schedule.freshness_seconds).is_not(None)
        query = select(Schedule.freshness_seconds).where(given, col(Schedule.paused).is_(False))
        return session.exec(query.order_by(col(Schedule.freshness_seconds)).limit(1)).first()


def import_seconds(settings: Settings) -> float:
    """Return the interval at which posted events are imported: as the objectives need, at least every second."""
    objective = shortest_objective(settings)
    return settings.inbox_seconds if objective is None else min(settings.inbox_seconds, max(1.0, _IMPORT * objective))


def enqueue_refreshes(settings: Settings, dispatch: Dispatch) -> list[Job]:
    """Enqueue a refresh for each schedule with an objective whose events wait, and return the jobs.

    It is taken by a compare-and-set of the schedule's last job, in the transaction that saves the job, so of many
    processes that call this only one enqueues it.
    """
    with reading(settings) as session:
        wanted = select(Schedule).where(col(Schedule.freshness_seconds).is_not(None), col(Schedule.paused).is_(False))
        due = [schedule for schedule in session.exec(wanted).all() if _pause_is_over(session, schedule)]
    jobs: list[Job] = []
    messages: list[StepMessage] = []
    for schedule in due:
        if not events_wait(settings, schedule):
            continue
        job, called = _take(settings, schedule)
        if job is not None:
            log.info(
                "refresh enqueued", extra={"action": "schedule", "schedule": schedule.name, "job": job.id, "kind": KIND}
            )
            jobs.append(job)
            messages += called
    dispatch_messages(settings, dispatch, messages)
    return jobs


def events_wait(settings: Settings, schedule: Schedule) -> bool:
    """Whether the lake's events are others than those that the last job of a schedule has seen."""
    from segadmin.storage.lake import Lake

    version = Lake.of(settings).version("events")
    with reading(settings) as session:
        seen = _seen(session, schedule)
    return version is not None and version != seen


def _pause_is_over(session: Session, schedule: Schedule) -> bool:
    """Whether no job of a schedule is on its way to publish, and the last one is long enough ago."""
    job = session.get(Job, schedule.last_job_id) if schedule.last_job_id is not None else None
    if job is None:
        return True
    has_published = _has_published(session, job)
    if not job.state.over and not has_published:
        return False
    began, pause = job.created_at, timedelta(seconds=_PAUSE * (schedule.freshness_seconds or 0))
    if not has_published:
        began, pause = job.finished_at or job.created_at, _pause_after_failures(session, schedule)
    return not timedelta() <= now(session) - began < pause  # before: the clock was set back


def _has_published(session: Session, job: Job) -> bool:
    """Whether a job has succeeded, or only has stages left that change no segment."""
    if job.state != JobState.RUNNING:
        return job.state == JobState.SUCCEEDED
    return not locks.needs_locks(session, job)


def _pause_after_failures(session: Session, schedule: Schedule) -> timedelta:
    """Return how long to wait after a job that failed or was cancelled: longer after each that did so in a row."""
    of_this = col(Job.idempotency_key).startswith(f"schedule:{schedule.name}:", autoescape=True)
    last = session.exec(select(Job.state).where(of_this).order_by(col(Job.id).desc()).limit(8)).all()
    failures = next((n for n, state in enumerate(last) if state == JobState.SUCCEEDED), len(last))
    pause: timedelta = min(_LONGEST, _AFTER_FAILURE * 2 ** max(0, failures - 1))
    return pause


def _seen(session: Session, schedule: Schedule) -> int | None:
    """Return the version of the events that the last job of a schedule read; ``None`` if it came to nothing."""
    if schedule.last_job_id is None:
        return None
    prepared = select(Step.result).where(
        Step.job_id == schedule.last_job_id, Step.stage == "prepare", Step.state == StepState.SUCCEEDED
    )
    job = session.get(Job, schedule.last_job_id)
    result = session.exec(prepared).first()
    if result is None or job is None or not _has_published(session, job):
        return None
    version = ((result.get("text") or {}).get("lake") or {}).get("events")
    return version if isinstance(version, int) else None


def _take(settings: Settings, schedule: Schedule) -> tuple[Job | None, list[StepMessage]]:
    """Save the next job of a schedule, unless another process was first."""
    error, options = None, schedule.options
    try:
        options = check_request(settings, schedule.kind, schedule.options)
    except SegadminError as problem:
        error = str(problem)
    # Job numbers are unique, but a schedule of this name may have been there before.
    after = schedule.last_job_id or f"{schedule.created_at:%Y%m%dT%H%M%S%f}"
    with transaction(settings) as session:
        expected = col(Schedule.last_job_id)
        same = expected.is_(None) if schedule.last_job_id is None else expected == schedule.last_job_id
        claim = (col(Schedule.name) == schedule.name, same, col(Schedule.paused).is_(False))
        # The lock first: a job with this key must not be saved by two processes.
        if session.exec(update(Schedule).where(*claim).values(last_job_id=schedule.last_job_id)).rowcount == 0:
            return None, []
        key = f"schedule:{schedule.name}:after-{after}"
        if session.exec(select(Job.id).where(Job.idempotency_key == key)).first() is not None:
            return None, []
        if error is None:
            job, messages = save(session, settings, schedule.kind, options, key=key)
        else:
            job, messages = save_failed(session, schedule, key, error), []
        session.exec(update(Schedule).where(*claim).values(last_job_id=job.id))
    return job, messages
