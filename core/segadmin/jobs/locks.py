"""Locks on what only one job at a time may change: a label set's champion, its current snapshot, its feeds' cursors.

A job takes a lock in the transaction that readies the first stage that needs it, and releases it when it ends, or when
the stage is done that releases it: what comes after a snapshot's publication must not delay the next snapshot. While
another job holds the lock, the stage waits. The process that ends a job advances the jobs that waited for its locks. So
does the reaper, so that no job waits for a process that crashed.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from segadmin.jobs.registry import workflow_of, workflows
from segadmin.jobs.stages import Stages
from segadmin.storage.records import Job, JobState, Lock, Step, StepState


def take(session: Session, job: Job, stage: str) -> bool:
    """Take all locks that ``stage`` needs, unless another job holds one of them."""
    return all(_take_one(session, job, name) for name in _needed(job, stage))


def release(session: Session, job: Job) -> bool:
    """Release all locks of ``job``; return whether it held any."""
    workflow = workflows().get(job.kind)
    if workflow is not None and not (job.options.get("labels") and any(stage.holds for stage in workflow.stages)):
        return False  # most jobs hold no lock; this saves them a statement
    return session.exec(delete(Lock).where(col(Lock.job_id) == job.id)).rowcount > 0


def release_unneeded(session: Session, job: Job, unfinished: Collection[str]) -> bool:
    """Release the locks of ``job`` that its ``unfinished`` stages do not need; return whether it held any."""
    labels, workflow = job.options.get("labels"), workflows().get(job.kind)
    if not labels or workflow is None:
        return False
    done = itertools.takewhile(lambda stage: stage.name not in unfinished, workflow.stages)
    names = [f"{stage.releases}:{labels}" for stage in done if stage.releases]
    own = delete(Lock).where(col(Lock.job_id) == job.id, col(Lock.name).in_(names))
    return bool(names) and session.exec(own).rowcount > 0


def needs_locks(session: Session, job: Job) -> bool:
    """Whether a stage of ``job`` that is not over changes what only one job at a time may change."""
    is_open = col(Step.state).in_([StepState.WAITING, StepState.READY, StepState.RUNNING])
    stages = session.exec(select(Step.stage).where(Step.job_id == job.id, is_open).distinct()).all()
    return any(workflow_of(job.kind).held_from(stage) for stage in stages)


def blocking_locks(session: Session, jobs: Collection[Job], stages: Mapping[int, Stages]) -> dict[int, Lock]:
    """Return, for each of ``jobs`` that waits, by its number, the lock of another job that it waits for."""
    needed = {job.id or 0: _missed(job, stages.get(job.id or 0, {})) for job in jobs if not job.state.over}
    names = {name for wanted in needed.values() for name in wanted}
    held = {lock.name: lock for lock in session.exec(select(Lock).where(col(Lock.name).in_(names))).all()}
    others = {
        job: [held[name] for name in wanted if name in held and held[name].job_id != job]
        for job, wanted in needed.items()
    }
    return {job: locks[0] for job, locks in others.items() if locks}


def stalled(session: Session) -> list[int]:
    """Return the jobs without a ready or running step, in the order in which they may continue."""
    at_work = select(Step.id).where(Step.job_id == Job.id, col(Step.state).in_([StepState.READY, StepState.RUNNING]))
    job_ids = session.exec(
        select(Job.id)
        .where(col(Job.state).in_([JobState.QUEUED, JobState.RUNNING]), ~at_work.exists())
        .order_by(col(Job.priority).desc(), col(Job.id))
    ).all()
    return [job_id for job_id in job_ids if job_id is not None]


def _take_one(session: Session, job: Job, name: str) -> bool:
    assert job.id is not None
    holder = session.get(Lock, name, populate_existing=True)
    if holder is None:
        try:
            with session.begin_nested():
                session.add(Lock(name=name, job_id=job.id))
        except IntegrityError:  # somebody was first
            return False
        return True
    return holder.job_id == job.id


def _needed(job: Job, stage: str) -> list[str]:
    labels, workflow = job.options.get("labels"), workflows().get(job.kind)
    if not labels or workflow is None:  # a kind of another version or an extension: its workers know
        return []
    return [f"{name}:{labels}" for name in workflow.held_from(stage)]


def _missed(job: Job, stages: Stages) -> list[str]:
    """Return the locks that the next stage of a job needs, if nothing of the job is ready or runs."""
    if any(stage.busy for stage in stages.values()):
        return []
    waiting = next((name for name, stage in stages.items() if stage.waiting), None)
    return [] if waiting is None else _needed(job, waiting)
