"""Selects jobs by what a list shows of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, union_all
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from segadmin.storage.records import Job, JobState


@dataclass(frozen=True)
class JobSelection:
    """Selects jobs; what is empty or ``None`` selects all."""

    kinds: tuple[str, ...] = ()
    states: tuple[JobState, ...] = ()
    numbers: tuple[int, ...] = ()  #: exactly these
    first: int | None = None  #: the lowest number
    last: int | None = None  #: the highest number

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions of a query for :class:`~segadmin.storage.records.Job`."""
        number: Any = col(Job.id)
        conditions: list[ColumnElement[bool]] = []
        for column, values in ((col(Job.kind), self.kinds), (col(Job.state), self.states), (number, self.numbers)):
            if values:
                conditions.append(column.in_(values))
        if self.first is not None:
            conditions.append(number >= self.first)
        if self.last is not None:
            conditions.append(number <= self.last)
        return conditions


#: Selects all jobs.
ALL = JobSelection()


def newest_jobs(selection: JobSelection, limit: int, before: int | None = None) -> SelectOfScalar[Job]:
    """Return the query for the newest jobs of a selection: at most ``limit``, older than the job ``before``.

    An index has the jobs of one kind and state by number, and none those of several: each pair is looked up by itself,
    so that the time does not grow with the number of jobs.
    """
    last = selection.last if before is None else min(before - 1, selection.last or before)
    selection = replace(selection, last=last)
    kinds, states = selection.kinds or (None,), selection.states or (tuple(JobState) if selection.kinds else (None,))
    pairs = [
        replace(selection, kinds=(kind,) if kind else (), states=(state,) if state else ())
        for kind in dict.fromkeys(kinds)
        for state in dict.fromkeys(states)
    ]
    queries = [select(Job.id).where(*pair.conditions).order_by(col(Job.id).desc()).limit(limit) for pair in pairs]
    numbers = union_all(*(select(query.subquery().c.id) for query in queries)).subquery()
    return select(Job).where(col(Job.id).in_(select(numbers.c.id))).order_by(col(Job.id).desc()).limit(limit)
