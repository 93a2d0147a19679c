"""The stages of jobs, their steps taken together: of many jobs by two queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, case, col, func, or_, select

from segadmin.storage.records import Job, Step, StepState

_DONE = col(Step.state).in_([StepState.SUCCEEDED, StepState.SKIPPED])


@dataclass(frozen=True)
class StageFacts:
    """A stage of one job, its steps taken together."""

    after: tuple[str, ...]
    done: float  #: 0 to 1
    before: float  #: how much of it was done when the job was started, or started again by a retry
    skipped: bool
    busy: bool  #: whether a step of it is ready or runs
    waiting: bool  #: whether a step of it waits for other stages, or for a lock


#: Stage → facts, in the order of the plan.
Stages = dict[str, StageFacts]


def stages_of(session: Session, jobs: Collection[Job]) -> dict[int, Stages]:
    """Return the stages of each of ``jobs``, by the job's number."""
    numbers = [job.id for job in jobs]
    old = or_(col(Job.started_at).is_(None), col(Step.finished_at) < col(Job.started_at))
    rows: Any = session.execute(
        select(  # type: ignore[call-overload]
            Step.job_id,
            Step.stage,
            func.min(Step.id).label("first"),
            func.avg(case((_DONE, 1.0), else_=Step.progress)).label("done"),
            func.avg(case((and_(_DONE, old), 1.0), else_=0.0)).label("before"),
            _any(col(Step.state).in_([StepState.READY, StepState.RUNNING])).label("busy"),
            _any(col(Step.state) == StepState.WAITING).label("waiting"),
        )
        .join(Job)
        .where(col(Step.job_id).in_(numbers))
        .group_by(col(Step.job_id), Step.stage)
    ).all()
    # What a stage comes after, and whether it is skipped, is the same for all of its steps.
    firsts = select(Step.id, Step.after, Step.state).where(col(Step.id).in_([row.first for row in rows]))
    facts = {number: (tuple(after), state == StepState.SKIPPED) for number, after, state in session.exec(firsts).all()}
    stages: dict[int, Stages] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.first):
        after, skipped = facts[row.first]
        stages[row.job_id][row.stage] = StageFacts(
            after, float(row.done), float(row.before), skipped, bool(row.busy), bool(row.waiting)
        )
    return stages


def _any(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.max(case((condition, 1), else_=0))
