"""How far a job is, and how long it will still take.

A stage counts by the seconds that it is expected to take: what it took in the latest jobs of the same kind and
backbone, or else what the plan declares. Stages that run at the same time count once: what remains is the longest path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from sqlmodel import Session, and_, case, col, func, select

from segadmin.database import now
from segadmin.jobs.plans import PLANS
from segadmin.records import Job, JobState, Step, StepState

#: So many of the latest jobs are averaged.
_PAST_JOBS = 3
#: With less than this share done, its own speed says too little of the rest.
_ENOUGH = 0.02
#: What a stage counts for at least: clocks of two machines may differ by more than it took.
_LEAST_SECONDS = 0.01


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    done: float  #: 0 to 1
    seconds_left: float | None  #: ``None`` where it does not run, or where there is nothing to go by yet


@dataclass(frozen=True)
class _Stage:
    """A stage of one job, its steps taken together."""

    after: tuple[str, ...]
    done: float  #: 0 to 1
    before: float  #: how much of it was done when the job was started, or started again by a retry
    skipped: bool


def progress_of(session: Session, job: Job) -> Progress:
    """Return how far ``job`` is."""
    if job.state == JobState.SUCCEEDED:
        return Progress(1.0, None)
    stages = _stages(session, job)
    measured = _measured(session, job)
    seconds = _expected(job.kind, stages, measured)
    whole = _longest(stages, seconds)
    left = _longest(stages, {name: seconds[name] * (1 - stage.done) for name, stage in stages.items()})
    if whole == 0:
        return Progress(1.0, None)
    if job.state != JobState.RUNNING or job.started_at is None:
        return Progress(1 - left / whole, None)
    at_start = _longest(stages, {name: seconds[name] * (1 - stage.before) for name, stage in stages.items()})
    elapsed = (now(session) - job.started_at).total_seconds()
    if at_start - left >= _ENOUGH * whole:
        return Progress(1 - left / whole, elapsed * left / (at_start - left))
    return Progress(1 - left / whole, left if measured else None)


def _stages(session: Session, job: Job) -> dict[str, _Stage]:
    """Return the stages of ``job``, in their order."""
    is_done = col(Step.state).in_([StepState.SUCCEEDED, StepState.SKIPPED])
    share = case((is_done, 1.0), else_=Step.progress)
    old = is_done if job.started_at is None else and_(is_done, col(Step.finished_at) < job.started_at)
    rows = session.exec(
        select(Step.stage, func.min(Step.id), func.avg(share), func.avg(case((old, 1.0), else_=0.0)))
        .where(Step.job_id == job.id)
        .group_by(Step.stage)
    ).all()
    numbers = [first for _, first, _, _ in rows]
    # A stage is skipped as a whole, so its first step stands for all.
    firsts = session.exec(select(Step.id, Step.after, Step.state).where(col(Step.id).in_(numbers))).all()
    facts = {number: (tuple(after), state == StepState.SKIPPED) for number, after, state in firsts}
    return {
        name: _Stage(facts[first][0], float(done), float(before), facts[first][1])
        for name, first, done, before in sorted(rows, key=lambda row: row[1] or 0)
    }


def _measured(session: Session, job: Job) -> dict[str, float]:
    """Return the seconds that each stage took in the latest jobs like ``job`` that ended before it was asked for."""
    backbone = job.options.get("backbone")
    asked = col(Job.options)["backbone"].as_string()
    alike = select(Job.id).where(
        Job.kind == job.kind,
        Job.state == JobState.SUCCEEDED,
        col(Job.finished_at) < job.created_at,
        asked.is_(None) if backbone is None else asked == backbone,
    )
    latest = session.exec(alike.order_by(col(Job.id).desc()).limit(_PAST_JOBS)).all()
    rows = session.exec(
        select(Step.stage, func.min(Step.started_at), func.max(Step.finished_at))
        .where(col(Step.job_id).in_(latest), Step.state == StepState.SUCCEEDED)
        .group_by(col(Step.job_id), Step.stage)
    ).all()
    took: dict[str, list[float]] = defaultdict(list)
    for stage, started, finished in rows:
        if started and finished:
            took[stage].append(max((finished - started).total_seconds(), _LEAST_SECONDS))
    return {stage: fmean(seconds) for stage, seconds in took.items()}


def _expected(kind: str, stages: Mapping[str, _Stage], measured: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds that each stage is expected to take; of what was never measured, the plan's costs in scale."""
    costs = {stage.name: stage.cost for stage in PLANS.get(kind, ())}
    known = sum(costs.get(name, 1.0) for name in measured)
    scale = sum(measured.values()) / known if known else 1.0
    expected = {name: measured.get(name, costs.get(name, 1.0) * scale) for name in stages}
    return {name: 0.0 if stages[name].skipped else seconds for name, seconds in expected.items()}


def _longest(stages: Mapping[str, _Stage], seconds: Mapping[str, float]) -> float:
    """Return the seconds of the longest path through ``stages``."""
    ends: dict[str, float] = {}
    for name, stage in stages.items():
        ends[name] = seconds[name] + max((ends.get(one, 0.0) for one in stage.after), default=0.0)
    return max(ends.values(), default=0.0)
