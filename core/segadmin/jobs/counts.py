"""How many jobs there are in each state, without reading them."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session, col, func, select

from segadmin.jobs.selection import JobSelection
from segadmin.storage.records import Job, JobState

#: Jobs of a state are counted up to this number, so that a page does not take longer the more there are.
MOST = 100_000


def count_by_state(session: Session, selection: JobSelection, most: int = MOST) -> dict[JobState, int]:
    """Return the number of jobs of a selection in each state, whatever states it names; at most ``most`` each."""
    counts: dict[JobState, int] = {}
    for state in JobState:
        conditions = replace(selection, states=(state,)).conditions
        kinds = selection.kinds or (None,)
        # An index has the jobs of one kind and state by number: each kind is counted by itself.
        parts = [[*conditions, col(Job.kind) == kind] if kind else conditions for kind in dict.fromkeys(kinds)]
        numbers = (select(Job.id).where(*part).limit(most).subquery() for part in parts)
        jobs = sum(session.exec(select(func.count()).select_from(part)).one() for part in numbers)
        counts[state] = min(jobs, most)
    return counts
