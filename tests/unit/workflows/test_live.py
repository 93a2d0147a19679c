"""Refreshes follow the events of a schedule with an objective: once, soon, and whatever clocks do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import select, update

from segadmin.errors import ConfigurationError
from segadmin.jobs import due_slots, schedules
from segadmin.jobs.control import cancel, view
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import now, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, Schedule, SegmentSnapshot
from segadmin.workflows.live import enqueue_refreshes, import_seconds, objective_options
from tests.planted import more_weeks, planted_users
from tests.unit.jobs.conftest import Messages
from tests.unit.workflows.conftest import OBJECTIVE, later, run


@pytest.fixture
def messages() -> Messages:
    return Messages()


def work(settings: Settings, messages: Messages) -> Job | None:
    """Enqueue what waits and run it; return the job."""
    jobs = enqueue_refreshes(settings, messages)
    run(settings, messages)
    return jobs[0] if jobs else None


def buy(settings: Settings, week: int = 14, users: int = 30) -> None:
    more_weeks(settings, planted_users(settings).head(users), range(week, week + 1), seed=week)


def snapshots(settings: Settings) -> list[int]:
    with transaction(settings) as session:
        return [row or 0 for row in session.exec(select(SegmentSnapshot.id).order_by(SegmentSnapshot.id)).all()]  # type: ignore[arg-type]


def test_a_refresh_follows_new_events(live: Settings, messages: Messages) -> None:
    buy(live)
    job = work(live, messages)
    assert job is not None
    assert job.options["time"] == "on-event"
    assert view(live, job.id or 0).job.state == JobState.SUCCEEDED
    assert snapshots(live) == [1, 2]
    with transaction(live) as session:
        snapshot = session.get_one(SegmentSnapshot, 2)
        assert set(snapshot.rescored_by) == {"new events"}
        assert snapshot.lake_versions["events"] == Lake.of(live).version("events")


def test_no_new_events_no_job(live: Settings, messages: Messages) -> None:
    assert enqueue_refreshes(live, messages) == []
    assert snapshots(live) == [1]


def test_of_many_processes_one_enqueues_it(live: Settings, messages: Messages) -> None:
    buy(live)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: enqueue_refreshes(live, messages), range(16)))
    assert sum(map(len, done)) == 1


def test_events_that_come_during_a_refresh_get_the_next_one(live: Settings, messages: Messages) -> None:
    buy(live)
    [first] = enqueue_refreshes(live, messages)
    run_step(live, messages, messages.take()[0], "worker")  # it has looked at the lake by now
    buy(live, 15)
    assert enqueue_refreshes(live, messages) == []
    run(live, messages)
    later(live)
    second = work(live, messages)
    assert second is not None
    assert second.id != first.id
    assert snapshots(live) == [1, 2, 3]


def test_refreshes_keep_a_distance(live: Settings, messages: Messages) -> None:
    with transaction(live) as session:
        session.exec(update(Schedule).values(freshness_seconds=36_000))
    later(live, 7200)
    buy(live)
    assert work(live, messages) is not None
    buy(live, 15)
    assert enqueue_refreshes(live, messages) == []
    later(live, 7200)
    assert work(live, messages) is not None


def test_a_clock_that_is_set_back_stops_nothing(live: Settings, messages: Messages) -> None:
    buy(live)
    later(live, -7200)  # the last job is in the future now
    assert work(live, messages) is not None
    assert snapshots(live) == [1, 2]


def test_a_refresh_that_waits_for_another_job_says_so_and_nothing_is_lost(live: Settings, messages: Messages) -> None:
    buy(live)
    options = {"model": "champion", "labels": "spend3", "force": True}
    other = enqueue(live, messages, "refresh", options).job
    [job] = enqueue_refreshes(live, messages)
    waits = view(live, job.id or 0).waits_for
    assert waits is not None
    assert waits.job_id == other.id
    run(live, messages)
    assert [view(live, number or 0).job.state for number in (other.id, job.id)] == [JobState.SUCCEEDED] * 2
    assert snapshots(live)[-1] == 2  # the second one found nothing that the first had not read
    later(live)
    assert enqueue_refreshes(live, messages) == []


def test_after_a_failure_pauses_get_longer(live: Settings, messages: Messages) -> None:
    buy(live)
    with transaction(live) as session:
        session.exec(update(Schedule).values(options={"labels": "none"}))
    for pause in (60, 120, 240):
        assert [job.state for job in enqueue_refreshes(live, messages)] == [JobState.FAILED]
        later(live, pause - 5)
        assert enqueue_refreshes(live, messages) == []
        later(live, 6)
    with transaction(live) as session:
        failed = session.exec(select(Job).where(Job.state == JobState.FAILED)).first()
    assert failed is not None
    assert "none" in str(failed.error)


def test_a_job_that_somebody_cancelled_is_enqueued_again_after_a_minute(live: Settings, messages: Messages) -> None:
    buy(live)
    [job] = enqueue_refreshes(live, messages)
    cancel(live, messages, job.id or 0)
    assert enqueue_refreshes(live, messages) == []
    messages.take()
    later(live)
    assert work(live, messages) is not None
    assert snapshots(live) == [1, 2]


def test_a_paused_schedule_enqueues_nothing_and_a_resumed_one_misses_nothing(
    live: Settings, messages: Messages
) -> None:
    schedules.pause(live, "live")
    buy(live)
    assert enqueue_refreshes(live, messages) == []
    schedules.resume(live, "live")
    assert work(live, messages) is not None
    assert snapshots(live) == [1, 2]


def test_a_schedule_that_is_added_again_goes_on(live: Settings, messages: Messages) -> None:
    for week in (14, 15):
        schedules.remove(live, "live")
        options = objective_options("refresh", {"labels": "spend3", "force": True})
        schedules.add(live, "live", "", "refresh", options, freshness=OBJECTIVE)
        buy(live, week)
        assert work(live, messages) is not None
    assert snapshots(live) == [1, 2, 3]


def test_posted_events_are_imported_as_often_as_the_objective_needs(live: Settings) -> None:
    assert import_seconds(live) == pytest.approx(4.5)
    schedules.pause(live, "live")
    assert import_seconds(live) == live.inbox_seconds == 10


def test_only_refreshes_have_an_objective() -> None:
    with pytest.raises(ConfigurationError, match="A job of the kind retrain has no freshness"):
        objective_options("retrain", {})
    assert objective_options("refresh", {"time": "daily"})["time"] == "daily"


def test_intervals_have_no_job_while_the_last_one_is_not_over(live: Settings, messages: Messages) -> None:
    schedules.add(live, "stream", "@every 5s", "compact", {})
    due(live)
    [first] = due_slots.tick(live, messages)
    due(live)
    assert due_slots.tick(live, messages) == []
    run(live, messages)
    due(live)
    [second] = due_slots.tick(live, messages)
    assert first.id != second.id


def test_intervals_go_on_when_a_clock_is_set_back(live: Settings, messages: Messages) -> None:
    schedules.add(live, "stream", "@every 5s", "compact", {})
    with transaction(live) as session:
        session.exec(
            update(Schedule).where(Schedule.name == "stream").values(next_slot=now(session) + timedelta(hours=1))
        )  # type: ignore[arg-type]
    assert len(due_slots.tick(live, messages)) == 1


def due(settings: Settings) -> None:
    with transaction(settings) as session:
        session.exec(update(Schedule).where(Schedule.name == "stream").values(next_slot=now(session)))  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["soon", "0s", "30", "-5s", "100d", "1e9s"])
def test_a_length_of_time_that_cannot_be_used(given: str) -> None:
    from segadmin.jobs.intervals import seconds_of

    with pytest.raises(ConfigurationError, match=r"--freshness .* is not a length of time"):
        seconds_of(given, "--freshness")
