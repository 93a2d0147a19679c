"""What a job will probably cost, in seconds and memory: what past jobs of its kind and like options took.

A job takes the longest path through its stages. Stages that are cut by buckets read every user, so what they took is
scaled by the events that were imported until then and until now; what the others take depends little on them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from typing import Any

from sqlmodel import Session, case, col, func, select

from segadmin.jobs.registry import Workflow, workflow_of
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage.database import now, reading
from segadmin.storage.records import Import, ImportState, Job, JobState, Step, StepState

#: So many of the latest jobs of the kind are looked at, and so many of those that are like this one are used.
_LOOKED_AT, _MOST = 100, 10
#: Options that change little of what a job costs.
_CHEAP = frozenset({"reason", "seed", "labels", "trackers", "tracker_options", "force", "margin"})
_OF_BACKBONE = ("backbone", "backbone_options")


class Likeness(StrEnum):
    """What past jobs have in common with the one that is asked for."""

    OPTIONS = "options"  #: all options that cost something
    BACKBONE = "backbone"  #: the backbone and its options
    KIND = "kind"  #: the kind alone


@dataclass(frozen=True)
class Range:
    """What past jobs took: the median, the least and the most."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """What a job will probably cost."""

    kind: str
    jobs: tuple[int, ...]  #: the past jobs that it is taken from, newest first; empty: there is none yet
    likeness: Likeness | None  #: ``None``: there is no past job
    seconds: Range | None  #: from its first step to the end of its last
    memory_bytes: Range | None  #: of the process of its largest step; ``None``: not measured yet
    #: Events now, as a multiple of those at the time of the past jobs; ``None``: there were none.
    growth: float | None


@dataclass(frozen=True)
class _Past:
    """A job that succeeded."""

    id: int
    options: dict[str, Any]
    created_at: datetime


def estimate(settings: Settings, kind: str, options: dict[str, Any]) -> Estimate:
    """Return what a job of a kind will probably cost; nothing is enqueued.

    Raises:
        SegadminError: it could not be enqueued, see :func:`segadmin.jobs.requests.check_request`.
    """
    checked, workflow = check_request(settings, kind, options), workflow_of(kind)
    with reading(settings) as session:
        likeness, past = _alike(_past(session, kind), checked)
        if likeness is None:
            return Estimate(kind, (), None, None, None, None)
        growth = _growth(session, past)
        seconds = [
            _longest(workflow, stages, growth.get(number, 1.0)) for number, stages in _seconds(session, past).items()
        ]
        memory = _memory(session, past)
    known = list(growth.values())
    numbers = tuple(job.id for job in past)
    return Estimate(kind, numbers, likeness, _range(seconds), _range(memory), median(known) if known else None)


def _past(session: Session, kind: str) -> list[_Past]:
    """Return the latest jobs of a kind that succeeded, newest first."""
    rows = session.exec(
        select(Job.id, Job.options, Job.created_at)
        .where(Job.kind == kind, Job.state == JobState.SUCCEEDED)
        .order_by(col(Job.id).desc())
        .limit(_LOOKED_AT)
    ).all()
    return [_Past(number or 0, dict(options), created) for number, options, created in rows]


def _alike(past: Sequence[_Past], options: dict[str, Any]) -> tuple[Likeness | None, list[_Past]]:
    """Return the past jobs that are most like one with ``options``, and what they have in common with it."""
    names = [name for name in options if name not in _CHEAP]
    for likeness, compared in ((Likeness.OPTIONS, names), (Likeness.BACKBONE, _OF_BACKBONE), (Likeness.KIND, ())):
        if likeness == Likeness.BACKBONE and not options.get("backbone"):
            continue
        alike = [job for job in past if all(job.options.get(name) == options.get(name) for name in compared)]
        if alike:
            return likeness, alike[:_MOST]
    return None, []


def _seconds(session: Session, past: Sequence[_Past]) -> dict[int, dict[str, float]]:
    """Return job → stage → seconds from the start of its first step to the end of its last."""
    rows = session.exec(
        select(Step.job_id, Step.stage, func.min(Step.started_at), func.max(Step.finished_at))
        .where(col(Step.job_id).in_([job.id for job in past]), Step.state == StepState.SUCCEEDED)
        .group_by(col(Step.job_id), Step.stage)
    ).all()
    took: dict[int, dict[str, float]] = defaultdict(dict)
    for number, stage, started, finished in rows:
        if started and finished:
            took[number][stage] = max((finished - started).total_seconds(), 0.0)
    return took


def _longest(workflow: Workflow, seconds: dict[str, float], growth: float) -> float:
    """Return the seconds of the longest path through the stages."""
    ends: dict[str, float] = {}
    for stage in workflow.stages:
        begin = max((ends.get(name, 0.0) for name in stage.after), default=0.0)
        ends[stage.name] = begin + seconds.get(stage.name, 0.0) * (growth if stage.per_buckets else 1.0)
    return max(ends.values())


def _growth(session: Session, past: Sequence[_Past]) -> dict[int, float]:
    """Return job → events now, as a multiple of those that were imported until then; nothing of jobs without events."""
    moments = [*(job.created_at for job in past), now(session)]
    until = [func.sum(case((col(Import.created_at) <= moment, Import.rows_kept), else_=0)) for moment in moments]
    imported = (Import.table == "events", Import.state == ImportState.SUCCEEDED)
    row: Any = session.exec(select(*until).where(*imported)).one()
    *before, total = [count or 0 for count in row]
    return {job.id: total / count for job, count in zip(past, before, strict=True) if count}


def _memory(session: Session, past: Sequence[_Past]) -> list[float]:
    rows = session.exec(
        select(Step.job_id, func.max(Step.memory_bytes))
        .where(col(Step.job_id).in_([job.id for job in past]))
        .group_by(col(Step.job_id))
    ).all()
    return [float(peak) for _, peak in rows if peak]


def _range(values: Sequence[float]) -> Range | None:
    return Range(median(values), min(values), max(values)) if values else None
