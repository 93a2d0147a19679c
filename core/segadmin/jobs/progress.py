"""How far jobs are, and how long they will still take.

A stage counts by the seconds that it is expected to take: what it took in the latest jobs of the same kind and
backbone, or else what the plan declares. Stages that run at the same time count once: what remains is the longest path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from sqlmodel import Session, col, func, select

from segadmin.jobs.registry import workflows
from segadmin.jobs.stages import Stages
from segadmin.storage.database import now
from segadmin.storage.records import Job, JobState, Step, StepState

#: So many of the latest jobs are averaged, if they are among so many of their kind.
_PAST_JOBS, _LOOKED_AT = 3, 50
#: With less than this share done, its own speed says too little of the rest.
_ENOUGH = 0.02
#: What a stage counts for at least: clocks of two machines may differ by more than it took.
_LEAST_SECONDS = 0.01

#: Stage → seconds that it took, or is expected to take.
Seconds = Mapping[str, float]


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    done: float  #: 0 to 1
    seconds_left: float | None  #: ``None`` where it does not run, or where there is nothing to go by yet


def progress_of(session: Session, jobs: Collection[Job], stages: Mapping[int, Stages]) -> dict[int, Progress]:
    """Return how far each of ``jobs`` is, by its number; ``stages`` are those of the jobs that did not succeed."""
    left = [job for job in jobs if job.state != JobState.SUCCEEDED]
    measured, moment = _measured(session, left), now(session)
    progress = {job.id or 0: Progress(1.0, None) for job in jobs}
    for job in left:
        progress[job.id or 0] = _progress(job, stages.get(job.id or 0, {}), measured[job.id or 0], moment)
    return progress


def _progress(job: Job, stages: Stages, measured: Seconds, moment: datetime) -> Progress:
    seconds = _expected(job.kind, stages, measured)
    whole = _longest(stages, seconds)
    left = _longest(stages, {name: seconds[name] * (1 - stage.done) for name, stage in stages.items()})
    if whole == 0:
        return Progress(1.0, None)
    if job.state != JobState.RUNNING or job.started_at is None:
        return Progress(1 - left / whole, None)
    at_start = _longest(stages, {name: seconds[name] * (1 - stage.before) for name, stage in stages.items()})
    elapsed = (moment - job.started_at).total_seconds()
    if at_start - left >= _ENOUGH * whole:
        return Progress(1 - left / whole, elapsed * left / (at_start - left))
    return Progress(1 - left / whole, left if measured else None)


@dataclass(frozen=True)
class _Past:
    """A job that succeeded."""

    id: int
    backbone: str | None
    finished_at: datetime


def _measured(session: Session, jobs: Sequence[Job]) -> dict[int, Seconds]:
    """Return what each stage took in the latest jobs like each of ``jobs`` that ended before it was asked for."""
    newest = max((job.id or 0 for job in jobs), default=0)
    past = {kind: _past(session, kind, newest) for kind in {job.kind for job in jobs}}
    alike = {job.id or 0: _alike(job, past[job.kind]) for job in jobs}
    rows = session.exec(
        select(Step.job_id, Step.stage, func.min(Step.started_at), func.max(Step.finished_at))
        .where(col(Step.job_id).in_({number for numbers in alike.values() for number in numbers}))
        .where(Step.state == StepState.SUCCEEDED)
        .group_by(col(Step.job_id), Step.stage)
    ).all()
    took: dict[int, dict[str, float]] = defaultdict(dict)
    for number, stage, started, finished in rows:
        if started and finished:
            took[number][stage] = max((finished - started).total_seconds(), _LEAST_SECONDS)
    return {job: _mean([took[number] for number in numbers]) for job, numbers in alike.items()}


def _past(session: Session, kind: str, newest: int) -> list[_Past]:
    """Return the latest jobs of a kind that succeeded, none newer than ``newest``."""
    backbone = col(Job.options)["backbone"].as_string()
    rows = session.exec(
        select(Job.id, backbone, Job.finished_at)
        .where(Job.kind == kind, Job.state == JobState.SUCCEEDED, col(Job.id) < newest)
        .order_by(col(Job.id).desc())
        .limit(_LOOKED_AT)
    ).all()
    return [_Past(number, name, finished) for number, name, finished in rows if number and finished]


def _alike(job: Job, past: Sequence[_Past]) -> list[int]:
    backbone = job.options.get("backbone")
    alike = [each.id for each in past if each.backbone == backbone and each.finished_at < job.created_at]
    return alike[:_PAST_JOBS]


def _mean(measured: Sequence[Seconds]) -> Seconds:
    stages = {stage for seconds in measured for stage in seconds}
    return {stage: fmean(seconds[stage] for seconds in measured if stage in seconds) for stage in stages}


def _expected(kind: str, stages: Stages, measured: Seconds) -> dict[str, float]:
    """Return the seconds that each stage is expected to take; of what was never measured, the plan's costs in scale."""
    workflow = workflows().get(kind)  # none for a kind of another version or an extension
    costs = {stage.name: stage.cost for stage in workflow.stages} if workflow else {}
    cost = sum(costs.get(name, 1.0) for name in measured)
    scale = sum(measured.values()) / cost if cost else 1.0
    expected = {name: measured.get(name, costs.get(name, 1.0) * scale) for name in stages}
    return {name: 0.0 if stages[name].skipped else seconds for name, seconds in expected.items()}


def _longest(stages: Stages, seconds: Seconds) -> float:
    """Return the seconds of the longest path through ``stages``."""
    ends: dict[str, float] = {}
    for name, stage in stages.items():
        ends[name] = seconds[name] + max((ends.get(before, 0.0) for before in stage.after), default=0.0)
    return max(ends.values(), default=0.0)
