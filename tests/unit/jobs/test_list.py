"""Lists of jobs: page by page, and by a number of queries that does not grow with the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlmodel import col, update

from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.run import run_step
from segadmin.jobs.selection import JobSelection
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState
from tests.unit.jobs.conftest import Messages


@contextmanager
def queries(settings: Settings) -> Iterator[list[str]]:
    """Collect the statements that the body runs."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(database.engine(settings), "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine(settings), "before_cursor_execute", note)


def fill(settings: Settings, messages: Messages, jobs: int) -> None:
    """Enqueue jobs of which some run, some wait for a lock, and one in four succeeds or has failed."""
    for number in range(jobs):
        enqueue(settings, messages, "probe", {"labels": "a"} if number % 3 == 0 else {})
    for step_id in messages.take()[::2]:
        run_step(settings, messages, step_id, "me")
    with transaction(settings) as session:
        session.exec(update(Job).where(col(Job.id) % 4 == 1).values(state=JobState.FAILED))


def test_the_number_of_queries_does_not_grow_with_the_page(engine_settings: Settings, messages: Messages) -> None:
    fill(engine_settings, messages, 40)
    with queries(engine_settings) as few:
        assert len(control.list_jobs(engine_settings, 5)) == 5
    with queries(engine_settings) as many:
        lines = control.list_jobs(engine_settings, 40)
    assert len(lines) == 40
    assert {line.job.state for line in lines} >= {JobState.RUNNING, JobState.QUEUED, JobState.FAILED}
    assert any(line.waits_for for line in lines)
    assert len(many) <= len(few) + 1, many


def test_the_list_and_the_page_of_a_job_agree(engine_settings: Settings, messages: Messages) -> None:
    fill(engine_settings, messages, 20)
    for line in control.list_jobs(engine_settings, 20):
        seen = control.view(engine_settings, line.job.id or 0)
        assert (seen.job.state, seen.progress.done, seen.waits_for) == (
            line.job.state,
            line.progress.done,
            line.waits_for,
        )


def test_pages_hold_every_job_once(engine_settings: Settings, messages: Messages) -> None:
    fill(engine_settings, messages, 23)
    seen: list[int] = []
    before: int | None = None
    while page := control.list_jobs(engine_settings, 5, before=before):
        seen += [line.job.id or 0 for line in page]
        before = seen[-1]
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 23
    failed = control.list_jobs(engine_settings, 3, JobSelection(states=(JobState.FAILED,)), before=10)
    assert [line.job.id for line in failed] == [9, 5, 1]


def test_a_long_list_is_read_in_pieces(engine_settings: Settings) -> None:
    """More jobs than a database lets one query name."""
    with transaction(engine_settings) as session:
        session.add_all(Job(kind="probe", state=JobState.FAILED) for _ in range(1203))
    assert [line.job.id for line in control.list_jobs(engine_settings, 5000)] == list(range(1203, 0, -1))
    assert len(control.list_jobs(engine_settings, 700)) == 700
