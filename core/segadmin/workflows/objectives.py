"""Whether schedules meet their freshness objectives: what was published, and what waits while nothing is."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session, col, select, update

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import PluginError
from segadmin.events.inbox import Inbox
from segadmin.jobs.control import JobView, view
from segadmin.jobs.enqueue import INBOX_KEY
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import Job, JobState, Schedule, SegmentSnapshot, SnapshotState, StepState
from segadmin.workflows.inbox_retry import failed_import
from segadmin.workflows.live import events_wait

log = logging.getLogger(__name__)
#: Time that a message takes to a worker, in seconds; a step that is ready for longer has none.
_DELIVERY = 5.0
_START = "segadmin up --detach, or: segadmin worker"


@dataclass(frozen=True)
class ObjectiveState:
    """A freshness objective, and how far it is met; all times in seconds."""

    schedule: str
    label_set: str
    objective: float
    snapshot_id: int | None = None  #: the last snapshot that is measured
    p50: float | None = None  #: of its events, from event to publication
    p95: float | None = None
    late: int = 0  #: its events that are not measured, see :class:`segadmin.snapshots.freshness.Freshness`
    ahead: int = 0
    newest_event: datetime | None = None  #: in the last snapshot
    waiting: float = 0.0  #: for so long an event waits that is in no snapshot
    cause: str = ""  #: why the objective is missed, probably
    fix: str = ""  #: the command that helps

    @property
    def seconds(self) -> float:
        """The freshness that counts: of the last snapshot, or of what waits if that is older by now."""
        return max(self.p95 or 0.0, self.waiting)

    @property
    def missed(self) -> bool:
        """Whether the objective is missed."""
        return self.seconds > self.objective


def objectives(settings: Settings) -> list[ObjectiveState]:
    """Return the state of every schedule with an objective, by name."""
    with reading(settings) as session:
        given = select(Schedule).where(col(Schedule.freshness_seconds).is_not(None)).order_by(Schedule.name)
        schedules = session.exec(given).all()
    return [_state(settings, schedule) for schedule in schedules]


def report_objectives(settings: Settings) -> list[ObjectiveState]:
    """Log and announce, once each time, that an objective begins to be missed; return those that do so now.

    Many processes may call this: one of them notes it in SQL, by a compare-and-set, and announces it.
    """
    began = []
    for state in objectives(settings):
        facts = {"action": "freshness", "schedule": state.schedule, "seconds": round(state.seconds, 1)}
        if not _note(settings, state):
            continue
        if not state.missed:
            log.info("freshness objective is met again", extra=facts)
            continue
        began.append(state)
        log.warning("freshness objective is missed", extra={**facts, "objective": state.objective})
        with reading(settings) as session:
            schedule = session.get(Schedule, state.schedule)
        try:
            load_plugins(settings).announce(
                "freshness_missed", schedule=schedule, seconds=state.seconds, cause=state.cause
            )
        except PluginError:  # logged by then, with its traceback
            continue
    return began


def _note(settings: Settings, state: ObjectiveState) -> bool:
    """Store that an objective is missed, or met again; return whether this call changed it."""
    since = col(Schedule.missed_since)
    with transaction(settings) as session:
        claim = (col(Schedule.name) == state.schedule, since.is_(None) if state.missed else since.is_not(None))
        moment = now(session) if state.missed else None
        return bool(session.exec(update(Schedule).where(*claim).values(missed_since=moment)).rowcount)


def _state(settings: Settings, schedule: Schedule) -> ObjectiveState:
    from segadmin.snapshots.freshness import Freshness, newest_snapshot

    label_set = str(schedule.options.get("labels"))
    state = ObjectiveState(schedule.name, label_set, schedule.freshness_seconds or 0.0)
    with reading(settings) as session:
        last, moment = newest_snapshot(session, label_set), now(session)
        measured = last is not None and _follows(session, schedule, last)
    if last is not None:
        state = replace(state, newest_event=last.newest_event)
        if measured and (freshness := Freshness.read(last.freshness)) is not None:
            facts = {name: getattr(freshness, name) for name in ("p50", "p95", "late", "ahead")}
            state = replace(state, snapshot_id=last.id, **facts)
    waits_since = [time for time in (_oldest(settings, schedule, last), _oldest_posted(settings, moment)) if time]
    if waits_since:  # what waited before the schedule was added does not count
        oldest = max(min(waits_since), schedule.created_at)
        state = replace(state, waiting=max(0.0, (moment - oldest).total_seconds()))
    if state.missed:
        cause, fix = _cause(settings, schedule, moment)
        state = replace(state, cause=cause, fix=fix)
    return state


def _follows(session: Session, schedule: Schedule, snapshot: SegmentSnapshot) -> bool:
    """Whether the snapshot before was published under this schedule too; the first one also has what waited before."""
    before = select(SegmentSnapshot.published_at).where(
        SegmentSnapshot.label_set == snapshot.label_set,
        SegmentSnapshot.state == SnapshotState.PUBLISHED,
        col(SegmentSnapshot.id) < snapshot.id,
    )
    published_at = session.exec(before.order_by(col(SegmentSnapshot.id).desc()).limit(1)).first()
    return published_at is not None and published_at >= schedule.created_at


def _oldest(settings: Settings, schedule: Schedule, last: SegmentSnapshot | None) -> datetime | None:
    """Return the time of the oldest event in the lake that is in no snapshot and did not come late."""
    from segadmin.snapshots.freshness import oldest_since
    from segadmin.storage.lake import Lake

    if last is None:
        return schedule.created_at
    return oldest_since(Lake.of(settings), last)


def _oldest_posted(settings: Settings, moment: datetime) -> datetime | None:
    """Return since when the oldest posted batch waits for its import, by the clock of the database."""
    oldest = Inbox.of(settings).oldest()
    return None if oldest is None else moment - timedelta(seconds=max(0.0, time.time() - oldest))


def _cause(settings: Settings, schedule: Schedule, moment: datetime) -> tuple[str, str]:
    """Return why an objective is missed, probably, and the command that helps."""
    if schedule.paused:
        return "the schedule is paused", f"segadmin schedule resume {schedule.name}"
    with reading(settings) as session:
        job = session.get(Job, schedule.last_job_id) if schedule.last_job_id is not None else None
        importing = _import_job(session)
    failed = failed_import(settings) or (job if job is not None and job.state == JobState.FAILED else None)
    if failed is not None:
        return f"job {failed.id} ({failed.kind}) failed: {failed.error}", f"segadmin jobs show {failed.id}"
    for each in (job, importing):
        if each is not None and not each.state.over:
            return _delay(view(settings, each.id or 0), moment)
    return _slow(settings, schedule, job)


def _slow(settings: Settings, schedule: Schedule, job: Job | None) -> tuple[str, str]:
    """Return why an objective is missed although no job failed or waits."""
    if job is None or Inbox.of(settings).oldest() is not None or events_wait(settings, schedule):
        return "nothing enqueues the jobs; beat may not run", "segadmin up --detach, or: segadmin beat"
    if job.started_at is not None and job.finished_at is not None:
        seconds = (job.finished_at - job.started_at).total_seconds()
        if 2 * seconds > (schedule.freshness_seconds or 0.0):
            return f"a refresh takes long: {seconds:.1f} s", f"segadmin jobs show {job.id}"
    return "events came old, or waited for their import", "segadmin data list"


def _import_job(session: Session) -> Job | None:
    """Return the newest import of posted events."""
    imports = (Job.kind == "ingest", col(Job.idempotency_key).startswith(INBOX_KEY))
    return session.exec(select(Job).where(*imports).order_by(col(Job.id).desc()).limit(1)).first()


def _delay(job: JobView, moment: datetime) -> tuple[str, str]:
    """Return what a job that is not over waits for."""
    number, kind = job.job.id, job.job.kind
    if job.waits_for is not None:
        blocking = job.waits_for.job_id
        return f"job {number} ({kind}) waits for job {blocking}", f"segadmin jobs show {blocking}"
    ready = [step for step in job.steps if step.state == StepState.READY]
    if ready and not any(step.state == StepState.RUNNING for step in job.steps):
        since = max(step.not_before or step.rung_at or job.job.created_at for step in ready)
        if (moment - since).total_seconds() > _DELIVERY:
            return f"no worker takes job {number} ({kind})", _START
    seconds = (moment - (job.job.started_at or job.job.created_at)).total_seconds()
    return f"job {number} ({kind}) is not over after {seconds:.0f} s", f"segadmin jobs show {number}"
