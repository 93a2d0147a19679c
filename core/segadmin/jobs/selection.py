"""Selects jobs by what a list shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import col

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
