"""A shop whose segments follow its events: a schedule with an objective, and no event that is not in a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select, update

from segadmin.jobs import schedules
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.records import Job, Schedule
from segadmin.workflows.live import enqueue_refreshes, objective_options
from tests.planted import copied, nothing_runs
from tests.unit.jobs.conftest import Messages

#: Seconds until an event is to be in a snapshot.
OBJECTIVE = 30.0


@pytest.fixture(scope="session")
def live_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with a snapshot, and a schedule of an hour ago whose first refresh has seen all events."""
    options = objective_options("refresh", {"labels": "spend3", "force": True})
    with copied(trained_home, Settings(home=tmp_path_factory.mktemp("live") / "home")) as settings:
        nothing_runs(settings)
        schedules.add(settings, "live", "", "refresh", options, freshness=OBJECTIVE)
        with transaction(settings) as session:
            session.exec(update(Schedule).values(created_at=now(session) - timedelta(hours=1)))
        messages = Messages()
        enqueue_refreshes(settings, messages)
        run(settings, messages)
    return settings.root


@pytest.fixture
def live(settings: Settings, live_home: Path) -> Iterator[Settings]:
    """Settings of a copy of that shop, a minute later at least."""
    with copied(live_home, settings):
        later(settings)
        yield settings


def run(settings: Settings, messages: Messages) -> None:
    """Run all steps, as a worker does."""
    while steps := messages.take():
        for step in steps:
            run_step(settings, messages, step, "worker")


def later(settings: Settings, seconds: float = 60) -> None:
    """Let time pass since the last job, or go back."""
    with transaction(settings) as session:
        for job in session.exec(select(Job)).all():
            job.created_at -= timedelta(seconds=seconds)
            if job.finished_at is not None:
                job.finished_at -= timedelta(seconds=seconds)
            session.add(job)
