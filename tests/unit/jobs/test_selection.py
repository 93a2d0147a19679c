"""Jobs that lists and bulk actions select."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from segadmin.jobs.control import list_jobs
from segadmin.jobs.selection import JobSelection
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState

KINDS = ("refresh", "score", "tune")
SELECTIONS = [
    JobSelection(),
    JobSelection(kinds=("refresh",)),
    JobSelection(kinds=("refresh", "tune")),
    JobSelection(states=(JobState.FAILED, JobState.QUEUED, JobState.FAILED)),
    JobSelection(kinds=("score", "tune"), states=(JobState.CANCELLED, JobState.RUNNING)),
    JobSelection(kinds=("none",)),
    JobSelection(first=10, last=60),
    JobSelection(numbers=(3, 5, 99, 1000), kinds=KINDS),
    JobSelection(last=40, states=(JobState.SUCCEEDED,)),
]


@pytest.fixture
def jobs(any_database: Settings) -> Sequence[Job]:
    database.upgrade(any_database)
    chance = random.Random(0)
    with transaction(any_database) as session:
        rows = [Job(kind=chance.choice(KINDS), state=chance.choice(list(JobState))) for _ in range(120)]
        session.add_all(rows)
        session.flush()
    return rows


def test_lists_have_the_newest_jobs_of_a_selection(any_database: Settings, jobs: Sequence[Job]) -> None:
    for selection in SELECTIONS:
        expected = [job.id or 0 for job in reversed(jobs) if _is_in(selection, job)]
        for before in (None, 1, 50, 10_000):
            for limit in (1, 7, 500):
                listed = list_jobs(any_database, limit, before=before, selection=selection)
                older = [number for number in expected if before is None or number < before]
                assert [line.job.id for line in listed] == older[:limit], (selection, before, limit)


def _is_in(selection: JobSelection, job: Job) -> bool:
    number = job.id or 0
    return (
        (not selection.kinds or job.kind in selection.kinds)
        and (not selection.states or job.state in selection.states)
        and (not selection.numbers or number in selection.numbers)
        and (selection.first is None or number >= selection.first)
        and (selection.last is None or number <= selection.last)
    )
