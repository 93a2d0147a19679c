"""Freshness objectives: missed also while nothing is published, with the likely cause and the command that helps."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from sqlmodel import select, update

from segadmin import hookimpl
from segadmin.contracts.plugins import load_plugins
from segadmin.events.inbox import Inbox
from segadmin.jobs import schedules
from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Schedule, SegmentSnapshot
from segadmin.storage.schema import TIME
from segadmin.workflows.live import enqueue_refreshes, objective_options
from segadmin.workflows.objectives import ObjectiveState, objectives, report_objectives
from tests.conftest import Cli
from tests.unit.jobs.conftest import Messages
from tests.unit.workflows.conftest import later, run


class Listener:
    """A plugin that keeps what is announced."""

    def __init__(self) -> None:
        self.missed: list[tuple[str, float, str]] = []

    @hookimpl
    def freshness_missed(self, schedule: Schedule, seconds: float, cause: str) -> None:
        """Keep it."""
        self.missed.append((schedule.name, seconds, cause))


@pytest.fixture
def listener(settings: Settings) -> Iterator[Listener]:
    listener, manager = Listener(), load_plugins(settings).manager
    manager.register(listener)
    yield listener
    manager.unregister(listener)


def happen(settings: Settings, seconds_ago: float, number: int = 1) -> None:
    """Import an event of some seconds ago."""
    lake = Lake.of(settings)
    at = pl.lit(datetime.now(UTC) - timedelta(seconds=seconds_ago)).cast(TIME)
    lake.append("events", lake.scan("events").head(1).collect().with_columns(at=at, event_id=pl.lit(number, pl.Int64)))


def state(settings: Settings) -> ObjectiveState:
    [found] = objectives(settings)
    return found


def refresh(settings: Settings) -> None:
    messages = Messages()
    assert enqueue_refreshes(settings, messages)
    run(settings, messages)
    later(settings)


def test_without_new_events_an_objective_is_met(live: Settings) -> None:
    assert not state(live).missed
    assert state(live).waiting == 0.0


def test_events_that_wait_miss_it_though_nothing_is_published(live: Settings) -> None:
    happen(live, 20)
    assert not state(live).missed
    happen(live, 100, number=2)
    missed = state(live)
    assert missed.missed
    assert 100 <= missed.waiting < 160
    assert missed.p95 is None
    assert (missed.cause, missed.fix) == (
        "nothing enqueues the jobs; beat may not run",
        "segadmin up --detach, or: segadmin beat",
    )


def test_posted_events_that_wait_for_their_import_miss_it(live: Settings) -> None:
    Inbox.of(live).add(['{"user": "user-1"}'])
    [batch] = Inbox.of(live).batches()
    os.utime(batch, (time.time() - 90,) * 2)
    assert 90 <= state(live).waiting < 150
    assert state(live).missed


def test_the_last_snapshot_misses_it_until_the_next_one(live: Settings) -> None:
    happen(live, 0)
    refresh(live)  # the first one under this schedule may have waited for it
    happen(live, 50, number=2)
    refresh(live)
    missed = state(live)
    assert missed.missed
    assert missed.p95 is not None
    assert 50 <= missed.p95 < 110
    assert missed.waiting == 0.0
    happen(live, 1, number=3)
    refresh(live)
    assert (state(live).snapshot_id, state(live).waiting) == (missed.snapshot_id + 1 if missed.snapshot_id else 0, 0.0)
    with transaction(live) as session:
        newest = session.exec(select(SegmentSnapshot).order_by(SegmentSnapshot.id.desc())).first()  # type: ignore[union-attr]
    assert newest is not None
    assert state(live).p95 == newest.freshness["p95"]


def test_what_waited_before_the_schedule_was_added_does_not_count(shop: Settings) -> None:
    happen(shop, 50_000)
    schedules.add(shop, "live", "", "refresh", objective_options("refresh", {"labels": "spend3"}), freshness=600)
    assert not state(shop).missed
    assert state(shop).waiting < 600


def test_the_cause_is_a_paused_schedule(live: Settings) -> None:
    happen(live, 100)
    schedules.pause(live, "live")
    assert (state(live).cause, state(live).fix) == ("the schedule is paused", "segadmin schedule resume live")


def test_the_cause_is_a_job_that_no_worker_takes(live: Settings) -> None:
    happen(live, 100)
    [job] = enqueue_refreshes(live, Messages())
    assert state(live).cause.startswith(f"job {job.id} (refresh) is not over after")
    later(live)
    with transaction(live) as session:
        session.connection().exec_driver_sql("UPDATE step SET rung_at = '2026-01-01 00:00:00.000000'")
    assert state(live).cause == f"no worker takes job {job.id} (refresh)"
    assert state(live).fix == "segadmin up --detach, or: segadmin worker"


def test_the_cause_is_another_job(live: Settings) -> None:
    happen(live, 100)
    other = enqueue(live, Messages(), "refresh", {"model": "champion", "labels": "spend3", "force": True}).job
    [job] = enqueue_refreshes(live, Messages())
    assert state(live).cause == f"job {job.id} (refresh) waits for job {other.id}"
    assert state(live).fix == f"segadmin jobs show {other.id}"


def test_the_cause_is_a_job_that_failed(live: Settings) -> None:
    happen(live, 100)
    with transaction(live) as session:
        session.exec(update(Schedule).values(options={"labels": "spend3", "model": "999"}))
    [job] = enqueue_refreshes(live, Messages())
    assert state(live).cause.startswith(f"job {job.id} (refresh) failed: ")
    assert "999" in state(live).cause


def test_a_miss_is_announced_once_until_it_is_met_again(live: Settings, listener: Listener) -> None:
    assert report_objectives(live) == []
    happen(live, 100)
    assert [missed.schedule for missed in report_objectives(live)] == ["live"]
    assert report_objectives(live) == []
    [(name, seconds, cause)] = listener.missed
    assert (name, cause) == ("live", "nothing enqueues the jobs; beat may not run")
    assert seconds > 100
    refresh(live)  # late as it is, it is not measured against the snapshot from before
    with transaction(live) as session:
        session.exec(update(SegmentSnapshot).values(freshness={}))
    assert report_objectives(live) == []
    with transaction(live) as session:
        assert session.get_one(Schedule, "live").missed_since is None
    happen(live, 55, number=2)
    assert len(report_objectives(live)) == 1
    assert len(listener.missed) == 2


def test_doctor_schedule_and_snapshots_state_it(live: Settings, cli: Cli) -> None:
    happen(live, 100)
    findings = json.loads(cli("doctor", "--json", check=False).stdout)
    [finding] = [finding for finding in findings if finding["what"] == "freshness"]
    assert finding["level"] == "warn"
    assert "objective 30.0 s – missed: nothing enqueues the jobs" in finding["detail"]
    assert finding["mend"] == "segadmin up --detach, or: segadmin beat"
    shown = cli("schedule", "show", "live").stdout
    assert "whenever events came in; objective: in a snapshot within 30 s" in shown
    assert "missed: nothing enqueues the jobs" in shown
    [facts] = json.loads(cli("schedule", "show", "live", "--json").stdout)["freshness"]
    assert facts["missed"] is True
    assert facts["objective"] == 30.0
    refresh(live)
    happen(live, 2, number=2)
    refresh(live)
    snapshot = json.loads(cli("snapshots", "show", "--json").stdout)
    assert snapshot["freshness"]["events"] == 1
    assert "freshness of 1 new event: p50" in cli("snapshots", "show").stdout.replace("\n", " ")


def test_a_schedule_needs_to_say_when(live: Settings, cli: Cli) -> None:
    for words, problem in {
        ("refresh",): "Give --cron '0 3 * * *', --every 10s, or --freshness 30s",
        ("--cron", "* * * * *", "--every", "10s", "refresh"): "not both",
        ("--freshness", "soon", "refresh"): "'soon' is not a length of time",
        ("--freshness", "30s", "retrain"): "A job of the kind retrain has no freshness",
    }.items():
        failed = cli("schedule", "add", "x", *words, check=False)
        assert failed.returncode != 0
        assert problem in failed.stderr
    cli("schedule", "add", "soon", "--freshness", "1m", "refresh", "--labels", "spend3")
    [added] = [row for row in json.loads(cli("schedule", "list", "--json").stdout) if row["name"] == "soon"]
    assert (added["freshness_seconds"], added["cron"], added["options"]["time"]) == (60.0, "", "on-event")
