"""Schedules: slots, clocks that change, outages, pauses; on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select, update

from segadmin.errors import ConfigurationError
from segadmin.jobs import control, due_slots, schedules
from segadmin.jobs.registry import workflows
from segadmin.jobs.schedules import next_slot
from segadmin.jobs.selection import JobSelection
from segadmin.settings import Settings
from segadmin.storage import audit
from segadmin.storage.database import now, transaction
from segadmin.storage.records import JobState, Schedule
from segadmin.workflows.textualize import Textualize
from tests.unit.jobs.conftest import Messages


@pytest.fixture(autouse=True)
def probe_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the probe kind be asked for as any other."""
    probe = workflows()["probe"]
    monkeypatch.setitem(workflows(), "probe", replace(probe, request=type("Probe", (Textualize,), {})))


def slots(cron: str, zone: str, start: str, end: str) -> list[str]:
    formatted, last = [], datetime.fromisoformat(end).replace(tzinfo=UTC)
    slot = datetime.fromisoformat(start).replace(tzinfo=UTC)
    while (slot := next_slot(cron, zone, slot)) <= last:
        formatted.append(f"{slot:%m-%d %H:%M}")
    return formatted


@pytest.mark.parametrize(
    ("cron", "zone", "start", "end", "expected"),
    [
        ("0 3 * * *", "Asia/Shanghai", "2026-03-28", "2026-03-30", ["03-28 19:00", "03-29 19:00"]),
        # 02:30 does not exist on 29 March in Berlin (01:00 UTC the clock jumps), and comes twice on 25 October.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-30 12:00", ["03-29 01:00", "03-30 00:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "2026-10-26 12:00", ["10-25 00:30", "10-26 01:30"]),
        ("30 2 * * *", "America/New_York", "2026-03-07 12:00", "2026-03-09 12:00", ["03-08 07:00", "03-09 06:30"]),
        # Every real hour, though the clock shows one of them twice or not at all.
        ("0 * * * *", "Europe/Berlin", "2026-03-28 23:30", "2026-03-29 03:00", [f"03-29 0{h}:00" for h in range(4)]),
        ("0 * * * *", "Europe/Berlin", "2026-10-24 23:30", "2026-10-25 03:00", [f"10-25 0{h}:00" for h in range(4)]),
        ("0 0 29 2 *", "UTC", "2026-01-01", "2029-01-01", ["02-29 00:00"]),
    ],
)  # fmt: skip
def test_slots_follow_the_clock_of_their_zone(cron: str, zone: str, start: str, end: str, expected: list[str]) -> None:
    assert slots(cron, zone, start, end) == expected


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/20 2 * * *", "0 * * * *", "30 2 * * 0"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai"])
def test_the_next_slot_is_never_in_the_past(cron: str, zone: str) -> None:
    """Above all in the hour that comes twice, where a schedule that was added fired at once."""
    for start in ("2026-04-04T12:00Z", "2026-10-24T21:00Z", "2026-11-01T03:00Z", "2027-03-27T21:00Z"):
        for minutes in range(0, 60 * 8, 7):
            after = datetime.fromisoformat(start) + timedelta(minutes=minutes)
            assert next_slot(cron, zone, after) > after
    again = datetime.fromisoformat("2026-10-25T01:10Z")  # 02:10 for the second time in Berlin
    assert next_slot("30 2 * * *", "Europe/Berlin", again) == datetime.fromisoformat("2026-10-26T01:30Z")


@pytest.mark.parametrize(("cron", "zone"), [("0 0 30 2 *", "UTC"), ("nightly", "UTC"), ("0 3 * * *", "Mars/Olympus")])
def test_a_cron_expression_that_never_fires_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cron expression|time zone"):
        next_slot(cron, zone, datetime.now(UTC))


def due_since(settings: Settings, name: str, ago: timedelta) -> datetime:
    """Move the next slot of a schedule into the past, as an outage does."""
    with transaction(settings) as session:
        schedule = session.get_one(Schedule, name)
        slot = next_slot(schedule.cron, schedule.timezone, now(session) - ago)
        session.exec(update(Schedule).where(col(Schedule.name) == name).values(next_slot=slot))
    return slot


def test_slots_missed_in_an_outage_start_one_job_and_are_recorded(
    engine_settings: Settings, messages: Messages
) -> None:
    schedules.add(engine_settings, "often", "*/5 * * * *", "probe", {})
    first = due_since(engine_settings, "often", timedelta(hours=1))
    [job] = due_slots.tick(engine_settings, messages)
    assert due_slots.tick(engine_settings, messages) == []
    assert len(messages.dispatched) == 1
    schedule_view = schedules.view(engine_settings, "often")
    [missed] = schedule_view.missed
    assert (missed.slots, missed.first, missed.job_id) == (12, first, job.id)
    assert missed.last - first == timedelta(minutes=55)
    assert [listed.id for listed in schedule_view.jobs] == [job.id]


def test_a_slot_met_in_time_is_not_missed(engine_settings: Settings, messages: Messages) -> None:
    schedules.add(engine_settings, "often", "* * * * * *", "probe", {})
    due_since(engine_settings, "often", timedelta(seconds=2))
    assert len(due_slots.tick(engine_settings, messages)) == 1
    assert schedules.view(engine_settings, "often").missed == []


def test_a_year_of_outage_is_counted_up_to_a_limit(engine_settings: Settings, messages: Messages) -> None:
    schedules.add(engine_settings, "often", "* * * * *", "probe", {})
    due_since(engine_settings, "often", timedelta(days=365))
    assert len(due_slots.tick(engine_settings, messages)) == 1
    assert schedules.view(engine_settings, "often").missed[0].slots == 10_000


def test_slots_during_a_pause_are_skipped(engine_settings: Settings, messages: Messages) -> None:
    schedules.add(engine_settings, "often", "*/5 * * * *", "probe", {})
    schedules.pause(engine_settings, "often")
    due_since(engine_settings, "often", timedelta(hours=1))
    assert due_slots.tick(engine_settings, messages) == []
    assert schedules.resume(engine_settings, "often").next_slot > datetime.now(UTC)
    assert due_slots.tick(engine_settings, messages) == []
    assert schedules.view(engine_settings, "often").missed == []


def test_a_change_that_is_asked_for_again_is_made_once(engine_settings: Settings, messages: Messages) -> None:
    for _ in range(2):
        schedules.add(engine_settings, "nightly", "0 3 * * *", "probe", {"sleep": 0})
    slot = due_since(engine_settings, "nightly", timedelta(minutes=5))
    assert schedules.add(engine_settings, "nightly", "0 3 * * *", "probe", {"sleep": 0}).next_slot == slot, "it is due"
    for change in (schedules.pause, schedules.pause, schedules.resume, schedules.resume):
        change(engine_settings, "nightly")
    schedules.add(engine_settings, "nightly", "0 4 * * *", "probe", {"sleep": 0})
    actions = [each.action for each in audit.entries(engine_settings, "schedules")]
    assert actions == ["schedules.add", "schedules.resume", "schedules.pause", "schedules.add"]


def test_a_slot_runs_once_even_if_the_schedule_is_replaced(engine_settings: Settings, messages: Messages) -> None:
    schedules.add(engine_settings, "often", "*/5 * * * *", "probe", {})
    slot = due_since(engine_settings, "often", timedelta(hours=1))
    assert len(due_slots.tick(engine_settings, messages)) == 1
    schedules.remove(engine_settings, "often")
    schedules.add(engine_settings, "often", "*/5 * * * *", "textualize", {})
    with transaction(engine_settings) as session:  # as after a clock that was set back
        session.get_one(Schedule, "often").next_slot = slot
    assert due_slots.tick(engine_settings, messages) == []
    assert schedules.view(engine_settings, "often").schedule.next_slot > datetime.now(UTC)
    assert due_slots.tick(engine_settings, messages) == []


def test_a_schedule_goes_on_when_a_clock_that_was_ahead_is_set_back(
    engine_settings: Settings, messages: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    before = schedules.add(engine_settings, "nightly", "0 3 * * *", "probe", {}).next_slot
    with transaction(engine_settings) as session:  # as after a look while the clock was a year ahead
        session.get_one(Schedule, "nightly").next_slot = before + timedelta(days=365)
    assert due_slots.tick(engine_settings, messages) == []
    assert schedules.view(engine_settings, "nightly").schedule.next_slot == before
    assert "the clock was set back" in caplog.text
    caplog.clear()
    assert due_slots.tick(engine_settings, messages) == []
    assert not caplog.text


def test_a_password_is_not_stored_and_one_that_was_is_not_copied(engine_settings: Settings, messages: Messages) -> None:
    schedules.add(engine_settings, "old", "*/5 * * * *", "ingest", {"where": "redis://:hidden@127.0.0.1:1/0"})
    due_since(engine_settings, "old", timedelta(minutes=6))
    [job] = due_slots.tick(engine_settings, messages)
    assert job.state == JobState.FAILED
    assert job.options["where"] == "redis://:***@127.0.0.1:1/0"
    assert "Write $SHOP_PASSWORD" in (job.error or "")
    assert "hidden" not in (job.error or "")


def test_a_manual_run_does_not_move_the_next_slot(engine_settings: Settings, messages: Messages) -> None:
    before = schedules.add(engine_settings, "nightly", "0 3 * * *", "probe", {}).next_slot
    job = schedules.run(engine_settings, messages, "nightly").job
    schedule = schedules.view(engine_settings, "nightly").schedule
    assert (schedule.next_slot, schedule.last_job_id) == (before, job.id)
    assert len(messages.dispatched) == 1
    with pytest.raises(ConfigurationError, match="Did you mean 'nightly'"):
        schedules.run(engine_settings, messages, "nightli")


def test_an_unreadable_schedule_does_not_stop_the_others(engine_settings: Settings, messages: Messages) -> None:
    for name in ("bad", "good"):
        schedules.add(engine_settings, name, "0 0 1 1 *", "probe", {})
        due_since(engine_settings, name, timedelta(days=366))
    with transaction(engine_settings) as session:
        session.exec(update(Schedule).where(col(Schedule.name) == "bad").values(cron="every day"))
    states = {job.state for job in due_slots.tick(engine_settings, messages)}
    assert states == {JobState.FAILED, JobState.QUEUED}
    assert due_slots.tick(engine_settings, messages) == []
    with transaction(engine_settings) as session:
        assert session.exec(select(Schedule.name).where(col(Schedule.paused))).all() == ["bad"]
    errors = [
        line.job.error for line in control.list_jobs(engine_settings, selection=JobSelection(states=(JobState.FAILED,)))
    ]
    assert "'every day' is not a cron expression" in str(errors[0])
